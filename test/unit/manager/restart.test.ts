/** Whether and when a machine that has ended is booted again. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { parseUnitFile } from "../../../src/config/unit-file.ts";
import { asPolicy, DEFAULT_POLICY, policyOf, type RestartPolicy } from "../../../src/manager/policy.ts";
import { afterEnd, type End } from "../../../src/manager/restart.ts";
import { Restarts } from "../../../src/manager/restarts.ts";
import { inSeconds, lateSignal, TIMER_MAX } from "../../../src/manager/timers.ts";
import { buildSpec } from "../../../src/spec/build-spec.ts";

function policy(text: string): ReturnType<typeof policyOf> {
  const { assignments } = parseUnitFile(`[Machine]\n${text}`, "m.nspawn");
  const root = { value: "/m", source: { from: "default" } } as const;
  const { spec, problems } = buildSpec({ name: "m", root, assignments, options: [], command: [] });
  if (spec === undefined) throw new Error(JSON.stringify(problems));
  return policyOf(spec);
}

const ALWAYS = policy("Restart=always").restart;
const ON_FAILURE = policy("Restart=on-failure").restart;
const NO = DEFAULT_POLICY.restart;
const FRESH = { times: [0], row: 0 };

describe("the policy", () => {
  test("is systemd's without settings", () => {
    expect(policy("")).toEqual(DEFAULT_POLICY);
    expect(DEFAULT_POLICY).toEqual({
      restart: { when: "no", delay: 100, limit: { starts: 5, interval: 10_000 } },
      startTimeout: 90_000,
      stopTimeout: 90_000,
    });
  });

  test.each([
    ["StartLimitBurst=0", null],
    ["StartLimitIntervalSec=0", null],
    ["StartLimitIntervalSec=infinity", { starts: 5, interval: null }],
    ["StartLimitBurst=2\nStartLimitIntervalSec=1min", { starts: 2, interval: 60_000 }],
  ])("%j: the limit is %j", (text, limit) => {
    expect(policy(`Restart=always\n${text}`).restart.limit).toEqual(limit);
  });

  test("is read from a record as it was written, and as nothing where that makes no sense", () => {
    const written = policy("Restart=always\nTimeoutStopSec=infinity");
    expect(asPolicy(JSON.parse(JSON.stringify(written)))).toEqual(written);
    const { restart } = written;
    const odd = [
      ...[undefined, null, 1, [], {}, { ...written, restart: null }, { ...written, startTimeout: undefined }],
      ...[{ when: "now" }, { delay: "1" }, { delay: -1 }, { limit: 5 }, { limit: { starts: 1 } }].map((change) => ({
        ...written,
        restart: { ...restart, ...change },
      })),
    ];
    for (const value of odd) expect(asPolicy(value), JSON.stringify(value)).toBeUndefined();
  });

  test("has no timeout where it is infinity or 0", () => {
    expect(policy("TimeoutStartSec=infinity\nTimeoutStopSec=0")).toMatchObject({
      startTimeout: null,
      stopTimeout: null,
    });
  });
});

describe("after an end", () => {
  const killed: End = { kind: "killed", signal: 9 };
  const exited: End = { kind: "exited", status: 3 };
  const clean: End = { kind: "exited", status: 0 };
  const poweroff: End = { kind: "poweroff" };
  const late: End = { kind: "not ready", seconds: 90 };
  const nothing: End = { kind: "not started", error: "no tree" };

  test.each<[string, RestartPolicy, End, object]>([
    ["no", NO, poweroff, { kind: "stopped" }],
    ["no", NO, clean, { kind: "stopped" }],
    ["no", NO, killed, { kind: "failed", reason: "its PID 1 was killed by SIGKILL" }],
    ["no", NO, exited, { kind: "failed", reason: "its PID 1 exited with status 3" }],
    ["no", NO, { ...killed, outOfMemory: true }, { reason: "its PID 1 was killed by SIGKILL: out of memory" }],
    ["on-failure", ON_FAILURE, poweroff, { kind: "stopped" }],
    ["on-failure", ON_FAILURE, clean, { kind: "stopped" }],
    ["on-failure", ON_FAILURE, killed, { kind: "restart", delay: 100, why: "its PID 1 was killed by SIGKILL" }],
    ["on-failure", ON_FAILURE, exited, { kind: "restart", delay: 100, why: "its PID 1 exited with status 3" }],
    ["on-failure", ON_FAILURE, late, { kind: "restart", why: "was not ready within 90 s" }],
    ["on-failure", ON_FAILURE, nothing, { kind: "restart", why: "no tree" }],
    ["always", ALWAYS, poweroff, { kind: "restart", delay: 100, why: "it powered itself off" }],
    ["always", ALWAYS, killed, { kind: "restart" }],
    ["any, where an earlier daemon was about to", NO, { kind: "interrupted" }, { kind: "restart", delay: 0 }],
  ])("Restart=%s", (_, restart, end, expected) => {
    expect(afterEnd(end, restart, FRESH, 1)).toMatchObject(expected);
  });

  test("the limit counts the starts within its time, the one to come at its time", () => {
    const times = [0, 100, 300, 700, 1500];
    expect(afterEnd(killed, ALWAYS, { times: times.slice(0, 4), row: 3 }, 1500)).toMatchObject({ kind: "restart" });
    expect(afterEnd(killed, ALWAYS, { times, row: 4 }, 1500)).toEqual({
      kind: "failed",
      reason: "its PID 1 was killed by SIGKILL; not started again after 5 starts within 10 s",
    });
    expect(afterEnd(poweroff, ALWAYS, { times, row: 4 }, 1500)).toMatchObject({
      reason: expect.stringMatching(/^it powered itself off; not started again/),
    });
    expect(afterEnd(killed, ALWAYS, { times, row: 4 }, 10_001)).toMatchObject({ kind: "restart" });
    // By the time it is started the first one lies too far back.
    const slow = policy("Restart=always\nRestartSec=2s\nStartLimitBurst=1\nStartLimitIntervalSec=1s").restart;
    expect(afterEnd(killed, slow, FRESH, 1)).toMatchObject({ kind: "restart", delay: 2000 });
    const once = policy("Restart=always\nStartLimitBurst=1\nStartLimitIntervalSec=infinity").restart;
    expect(afterEnd(killed, once, FRESH, 1e9)).toMatchObject({ reason: expect.stringMatching(/after 1 start$/) });
  });

  test("the delay doubles up to a minute, or is longer itself", () => {
    const delays = (restart: RestartPolicy, rows: readonly number[]): unknown[] =>
      rows.map((row) => {
        const next = afterEnd(killed, { ...restart, limit: null }, { times: [], row }, 0);
        return next.kind === "restart" ? next.delay : next;
      });
    expect(delays(ALWAYS, [0, 1, 2, 9, 10, 5000])).toEqual([100, 200, 400, 51_200, 60_000, 60_000]);
    expect(delays(policy("Restart=always\nRestartSec=5min").restart, [0, 1, 9])).toEqual([300_000, 300_000, 300_000]);
    expect(delays(policy("Restart=always\nRestartSec=0").restart, [0, 1, 5000])).toEqual([0, 0, 0]);
  });
});

describe("a machine's restarts", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["hrtime"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  const delayAfter = (restarts: Restarts, end: End): unknown => {
    const next = restarts.next(end, { ...ALWAYS, limit: null });
    return next.kind === "restart" ? next.delay : next;
  };

  test("are in a row until one has lasted a minute", () => {
    const restarts = new Restarts();
    const seen: unknown[] = [];
    for (const lasted of [10, 10, 10, 60_001, 10]) {
      restarts.started();
      vi.advanceTimersByTime(lasted);
      seen.push(delayAfter(restarts, { kind: "poweroff" }));
    }
    expect(seen).toEqual([100, 200, 400, 100, 200]);
    expect(restarts.count).toBe(5);
  });

  test("that an earlier daemon has counted are not counted again", () => {
    const restarts = new Restarts();
    restarts.count = 3;
    restarts.next({ kind: "interrupted" }, ALWAYS);
    expect(restarts.count).toBe(3);
  });
});

describe("the wait before a restart", () => {
  test("says what for, and ends when it is told to", async () => {
    const restarts = new Restarts();
    expect(restarts.pending).toBeNull();
    const waited = restarts.wait(20_000, "it powered itself off");
    expect(restarts.pending?.why).toBe("it powered itself off");
    expect(inSeconds(restarts.pending?.at ?? 0)).toBe("in 20 s");
    restarts.endWait();
    await waited;
    expect(restarts.pending).toBeNull();
  });

  test("is no shorter for being too long for a timer", async () => {
    const restarts = new Restarts();
    const waited = restarts.wait(TIMER_MAX * 3, "x");
    expect(await Promise.race([waited.then(() => "over"), new Promise((done) => setTimeout(done, 20, "waits"))])).toBe(
      "waits",
    );
    restarts.endWait();
    await waited;
    expect(lateSignal(null).aborted).toBe(false);
  });
});
