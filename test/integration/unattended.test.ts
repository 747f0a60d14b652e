/** Machines of a berthd while none runs: what is told of them, and that the next one does as was told. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import type { MachineRecord } from "../../src/machine/record.ts";
import type { MachineDetails } from "../../src/manager/machine-details.ts";
import { type BerthRoot, berthRoot, buildBerth, isRunning, poll } from "../lib/berth.ts";
import { killDaemon } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { ENDLESS, shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const ALWAYS = "[Machine]\nRestart=always\nRestartSec=20ms\n";

/** It has been started, and its berthd killed. */
async function orphan(root: BerthRoot, settings: string): Promise<MachineRecord> {
  await shellMachine(root, "m", ENDLESS, settings);
  expect((await root.berth("start", "m")).status).toBe(0);
  const record = await root.recordWhen("m", ({ ready: isReady }) => isReady);
  await killDaemon(root);
  return record;
}

async function end({ leader, keeper }: MachineRecord): Promise<void> {
  process.kill(leader.pid, "SIGKILL");
  await poll("its end", () => (isRunning(leader.pid) || isRunning(keeper.pid) ? undefined : true));
}

async function details(root: BerthRoot): Promise<MachineDetails> {
  return JSON.parse((await root.berth("show", "m", "--json")).stdout);
}

async function startDaemon(root: BerthRoot): Promise<void> {
  expect((await root.berth("daemon", "start")).status).toBe(0);
}

async function isUp(root: BerthRoot, before: MachineRecord): Promise<void> {
  await root.recordWhen("m", (record) => record.leader.pid !== before.leader.pid && record.ready);
}

/** In a while in which it would be. */
async function isNotBooted(root: BerthRoot): Promise<void> {
  await sleep(500);
  expect(root.record("m")).toBeNull();
}

const file = (root: BerthRoot, path: string): string => join(root.path, "run", path);

/** What is in the state file of a machine that was to boot again. */
function writeState(root: BerthRoot, { bootId }: MachineRecord, next: string | null, restarts = 1): void {
  mkdirSync(file(root, "state"), { recursive: true });
  writeFileSync(
    file(root, "state/m.json"),
    JSON.stringify({ version: 1, name: "m", next, restarts, failure: null, bootId }),
  );
}

test("one that is to boot again says so in status as well", async () => {
  await using root = berthRoot();
  const first = await orphan(root, ALWAYS);
  await end(first);
  const { status, stdout } = await root.berth("status", "m");
  expect(status).toBe(3);
  expect(stdout).toMatch(
    /State +stopped\n +Reason +its PID 1 was killed by SIGKILL; berthd boots it again when it runs\n/,
  );
  await startDaemon(root);
  await isUp(root, first);
  expect((await root.berth("terminate", "m")).status).toBe(0);
});

test("how often one that runs was started again is known", async () => {
  await using root = berthRoot();
  const record = await orphan(root, "");
  writeState(root, record, null, 3);
  expect(await details(root)).toMatchObject({ state: "running", restarts: 3 });
  expect((await root.berth("list")).stdout).toMatch(/ started again 3 times$/m);
  expect((await root.berth("terminate", "m")).status).toBe(0);
});

test("a failure and the restarts before it outlive berthds", async () => {
  await using root = berthRoot();
  const record = await orphan(root, "");
  writeState(root, record, null, 2);
  await end(record);
  const before = await details(root);
  expect(before).toMatchObject({ state: "failed", restarts: 2, failure: { console: ["up"] } });
  for (const _ of ["one", "the next"]) {
    await startDaemon(root);
    expect(await details(root)).toEqual(before);
    await killDaemon(root);
  }
});

test("when it failed is not made up where nobody knows, as its keeper was killed", async () => {
  await using root = berthRoot();
  const record = await orphan(root, "");
  process.kill(record.keeper.pid, "SIGKILL");
  await end(record);
  const reason = "its PID 1 was killed by SIGKILL";
  expect(await details(root)).toMatchObject({ state: "failed", failure: { reason, time: null } });
  expect((await root.berth("why", "m")).stdout).toMatch(`m has failed: ${reason}.\n`);
  await startDaemon(root);
  expect(await details(root)).toMatchObject({ state: "failed", failure: { reason, time: null } });
});

test("StartLimitBurst=: its start counts when it was, not when the next berthd sees its end", async () => {
  await using root = berthRoot();
  const settings = `${ALWAYS}StartLimitBurst=1\nStartLimitIntervalSec=3s\n`;
  const first = await orphan(root, settings);
  await sleep(3_500);
  await end(first);
  expect(await details(root)).toMatchObject({ state: "stopped", failure: null });
  await startDaemon(root);
  await isUp(root, first);
  expect((await root.berth("terminate", "m")).status).toBe(0);
});

test("StartLimitBurst=: one that a killed berthd was about to boot again, and whose end it had not seen to, is seen to once", async () => {
  await using root = berthRoot();
  const record = await orphan(root, `${ALWAYS}StartLimitBurst=1\nStartLimitIntervalSec=1h\n`);
  await end(record);
  writeState(root, record, "restart");
  const reason = "its PID 1 was killed by SIGKILL; not started again after 1 start within 3600 s";
  expect(await details(root)).toMatchObject({ state: "failed", failure: { reason } });
  await startDaemon(root);
  await isNotBooted(root);
  expect(await details(root)).toMatchObject({ state: "failed", failure: { reason } });
});

test("one whose end was half archived is not taken for one that was killed", async () => {
  await using root = berthRoot();
  const record = await orphan(root, "[Machine]\nRestart=on-failure\nRestartSec=20ms\n");
  process.kill(record.leader.pid, "SIGTERM");
  await poll("its end", () => (isRunning(record.keeper.pid) ? undefined : true));
  expect((await root.berth("list")).stdout).toBe("");
  // As berthd does when it keeps a boot, and is killed after the first file.
  mkdirSync(file(root, "history/m/1"), { recursive: true });
  renameSync(file(root, "running/m/record.json"), file(root, "history/m/1/record.json"));
  expect((await root.berth("list")).stdout).toBe("");
  await startDaemon(root);
  await isNotBooted(root);
  expect((await root.berth("list")).stdout).toBe("");
});

test("events tell what has changed meanwhile, and wait goes on, by the next berthd", async () => {
  await using root = berthRoot();
  const first = await orphan(root, "");
  await startDaemon(root);
  await using events = root.start("events", "--json");
  await using wait = root.start("wait", "m", "failed", "--timeout=60");
  for (let state = ""; state === ""; await sleep(200)) {
    expect((await root.berth("pause", "m")).status).toBe(0);
    expect((await root.berth("resume", "m")).status).toBe(0);
    state = events.stdout; // when it has asked
  }
  await killDaemon(root);
  await events.until(/waiting for the next one/);
  await end(first);
  await startDaemon(root);
  await events.until(/"failed"/);
  const told = events.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const reason = "its PID 1 was killed by SIGKILL";
  expect(told.at(-1)).toMatchObject({ type: "changed", machine: "m", view: { state: "failed", reason } });
  expect((await wait.end).status).toBe(0);
  // One that is there no more has gone.
  await killDaemon(root);
  rmSync(file(root, "state/m.json"));
  await startDaemon(root);
  await events.until(/"removed"/);
});

test("one that is ready meanwhile is not said to be waited for", async () => {
  await using root = berthRoot();
  const slow = "trap 'exit 0' TERM; while [ ! -e /go ]; do sleep 0.05; done; exec /probe init --ready --term";
  await shellMachine(root, "m", slow, "[Exec]\nNotifyReady=yes\n");
  await using start = root.start("start", "m");
  await root.recordWhen("m");
  await killDaemon(root);
  expect((await start.end).status).toBe(1);
  writeFileSync(join(root.machines, "m/go"), "");
  const reason = "it was not ready when berthd ended; the next one knows whether it is now";
  expect(await details(root)).toMatchObject({ state: "starting", reason });
  expect((await root.berth("why", "m")).stdout).toMatch(
    /^m is starting since \S+: it was not ready when berthd ended;/,
  );
  expect(await root.berth("wait", "m", "--timeout=60")).toMatchObject({ status: 0 });
  expect(await details(root)).toMatchObject({ state: "running", reason: null });
  expect((await root.berth("terminate", "m")).status).toBe(0);
});

describe("damage", () => {
  test.each([
    ["none", undefined],
    ["empty", {}],
    ["half", { restart: { when: "always" } }],
    ["odd", { restart: { when: "now", delay: 1, limit: null }, startTimeout: null, stopTimeout: null }],
  ])("a policy in the record that is %s is left to the next berthd, which reads the settings", async (_, policy) => {
    await using root = berthRoot();
    const record = await orphan(root, ALWAYS);
    await end(record);
    const path = file(root, "running/m/record.json");
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), policy }));
    const reason = "its PID 1 was killed by SIGKILL; berthd decides what follows";
    expect(JSON.parse((await root.berth("list", "--json")).stdout)).toMatchObject([{ state: "stopped", reason }]);
    await startDaemon(root);
    await isUp(root, record);
    expect((await root.berth("terminate", "m")).status).toBe(0);
  });

  test("how it ended can't be read: it counts as killed, and the others are listed", async () => {
    await using root = berthRoot();
    const record = await orphan(root, "");
    await end(record);
    rmSync(file(root, "running/m/exit"));
    mkdirSync(file(root, "running/m/exit"));
    const failed = { state: "failed", failure: { reason: "its PID 1 was killed by SIGKILL", time: null } };
    expect(await details(root)).toMatchObject(failed);
    await startDaemon(root);
    expect(await details(root)).toMatchObject(failed);
  });

  test("of the record of one that runs: a verb starts a berthd, which mends it", async () => {
    await using root = berthRoot();
    await orphan(root, "");
    writeFileSync(file(root, "running/m/record.json"), "{");
    expect(await root.berth("wait", "m", "--timeout=60")).toMatchObject({ status: 0 });
    expect((await root.berth("terminate", "m")).status).toBe(0);
  });
});

test("of one that a berth run has by now, berthd has no part", async () => {
  await using root = berthRoot();
  const record = await orphan(root, `${ALWAYS}[Exec]\nBoot=yes\n`);
  await end(record);
  await startDaemon(root);
  await isUp(root, record);
  expect((await root.berth("terminate", "m")).status).toBe(0);
  await killDaemon(root);
  writeState(root, record, "restart");
  await using child = root.start("run", "-q", "-M", "m", "-b", "--console=passive");
  const { leader } = await root.recordWhen("m", ({ ready: isReady }) => isReady);
  expect(await root.berth("pause", "m")).toMatchObject({ status: 0, stderr: "" });
  expect(await root.berth("resume", "m")).toMatchObject({ status: 0, stderr: "" });
  await startDaemon(root);
  const listed = async (): Promise<unknown> => JSON.parse((await root.berth("list", "--json")).stdout);
  expect(await listed()).toMatchObject([{ name: "m", state: "running", managed: false, leader: leader.pid }]);
  expect((await root.berth("terminate", "m")).status).toBe(0);
  await child.end;
  await expect.poll(listed).toEqual([]);
  await isNotBooted(root);
});

test.each(["nobody has seen to its end", "berthd was about to boot it", "berthd waits to boot it"])(
  "an image that is removed is not booted again: %s",
  async (when) => {
    await using root = berthRoot();
    const record = await orphan(root, ALWAYS.replace("20ms", "1h"));
    if (when.endsWith("waits to boot it")) await startDaemon(root);
    await end(record);
    if (when.endsWith("about to boot it")) {
      await startDaemon(root);
      await poll("the wait", () => (root.record("m") === null ? true : undefined));
      await killDaemon(root);
    }
    expect(await root.berth("remove", "m")).toMatchObject({ status: 0 });
    expect((await root.berth("list")).stdout).toBe("");
    await startDaemon(root);
    expect((await root.berth("list")).stdout).toBe("");
    expect(root.leftovers()).toEqual([]);
  },
);
