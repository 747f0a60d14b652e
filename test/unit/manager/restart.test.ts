/** Whether and when a machine that has ended is booted again. */
import { describe, expect, test } from "vitest";
import { afterEnd, type End, failureOf, NO_RESTART, type RestartPolicy } from "../../../src/manager/restart.ts";

const POLICY: RestartPolicy = { when: "always", delay: 100, limit: { starts: 3, interval: 10_000 } };
const ENDS: Readonly<Record<string, End>> = {
  poweroff: { kind: "poweroff" },
  reboot: { kind: "reboot" },
  clean: { kind: "exited", status: 0 },
  status: { kind: "exited", status: 3 },
  signal: { kind: "killed", signal: 9 },
  memory: { kind: "killed", signal: 9, outOfMemory: true },
  nothing: { kind: "not started", error: "no tree" },
};
const FAILURES = ["status", "signal", "memory", "nothing"];
const NOW = 1_000_000;

function next(end: string, policy: Partial<RestartPolicy>, starts = [NOW - 1], onPurpose = false) {
  return afterEnd(ENDS[end] as End, onPurpose, { ...POLICY, ...policy }, starts, NOW);
}

describe("what counts as a failure", () => {
  test.each(Object.keys(ENDS))("%s", (end) => {
    expect(failureOf(ENDS[end] as End) !== undefined).toBe(FAILURES.includes(end));
  });

  test("is said in words", () => {
    expect(
      Object.values(ENDS)
        .map(failureOf)
        .filter((text) => text !== undefined),
    ).toEqual([
      "its PID 1 exited with status 3",
      "its PID 1 was killed by SIGKILL",
      "its PID 1 was killed by SIGKILL: out of memory",
      "no tree",
    ]);
  });
});

describe.each(Object.keys(ENDS))("an end by %s", (end) => {
  const failed = FAILURES.includes(end);

  test("without a policy is the end", () => {
    expect(afterEnd(ENDS[end] as End, false, NO_RESTART, [NOW], NOW).kind).toBe(failed ? "failed" : "stopped");
  });

  test("on purpose is the end, whatever the policy", () => {
    for (const when of ["no", "on-failure", "always"] as const)
      expect(next(end, { when }, [NOW], true)).toEqual({ kind: "stopped" });
  });

  test("restarts with always, and with on-failure if it is one", () => {
    expect(next(end, { when: "always" }).kind).toBe("restart");
    expect(next(end, { when: "on-failure" }).kind).toBe(failed ? "restart" : "stopped");
  });
});

describe("how often", () => {
  test("the delay doubles with each start within the interval, up to a minute", () => {
    const limit = { starts: 100, interval: 1e9 };
    const delays = Array.from({ length: 20 }, (_, index) => {
      const verdict = next(
        "status",
        { limit },
        Array.from({ length: index + 1 }, (_, at) => NOW - at),
      );
      return verdict.kind === "restart" ? verdict.delay : undefined;
    });
    expect(delays.slice(0, 5)).toEqual([100, 200, 400, 800, 1600]);
    expect(delays.slice(10)).toEqual(Array(10).fill(60_000));
  });

  test("no more than the limit says, and it is said why", () => {
    const verdict = next("status", {}, [NOW - 300, NOW - 200, NOW - 100]);
    expect(verdict).toEqual({
      kind: "failed",
      reason: "its PID 1 exited with status 3; not started again after 3 starts within 10 s",
    });
    expect(next("poweroff", {}, [NOW - 3, NOW - 2, NOW - 1])).toMatchObject({
      kind: "failed",
      reason: expect.stringMatching(/^it powered itself off; not started again/),
    });
  });

  test("starts that are longer ago than the interval do not count", () => {
    expect(next("status", {}, [NOW - 20_000, NOW - 10_000, NOW - 100])).toEqual({
      kind: "restart",
      delay: 100,
      why: "its PID 1 exited with status 3",
    });
  });

  test("after a long life the delay is the first one again, though no start is recent", () => {
    expect(next("status", {}, [NOW - 20_000])).toMatchObject({ kind: "restart", delay: 100 });
  });
});
