/** `berth wait` for each state that can be waited for, with a daemon and without, and over the bus. */
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth, type Running } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { liveMachine } from "../lib/live-machine.ts";
import { needs } from "../lib/requires.ts";
import { ENDLESS, shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const STATES = ["running", "stopped", "paused", "failed"] as const;
const DONE = { status: 0, stdout: "", stderr: "" };

/** One that has begun to wait, as it has not ended yet. */
async function waiter(root: BerthRoot, state: string): Promise<Running> {
  const waiting = root.start("wait", "m", state, "--timeout=60");
  expect(await Promise.race([waiting.end, sleep(500, "waits")])).toBe("waits");
  return waiting;
}

/** The machine is in these states, and in no other. */
async function expectStates(root: BerthRoot, ...wanted: readonly (typeof STATES)[number][]): Promise<void> {
  const seconds = STATES.map((state) => (wanted.includes(state) ? 40 : 1));
  const ends = await Promise.all(STATES.map((state, at) => root.berth("wait", "m", state, `--timeout=${seconds[at]}`)));
  for (const [at, state] of STATES.entries()) {
    const late = { ...DONE, status: 1, stderr: `berth: machine m is not ${state} after 1 s\n` };
    expect(ends[at], state).toMatchObject(wanted.includes(state) ? DONE : late);
  }
}

test("paused and failed are waited for, by the daemon, and are so at once where they are so already", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m", ENDLESS, "[Machine]\nRestart=no\n");
  expect(await root.berth("start", "m")).toMatchObject({ status: 0 });
  await expectStates(root, "running");
  await using paused = await waiter(root, "paused");
  expect(await root.berth("pause", "m")).toMatchObject({ status: 0 });
  expect(await paused.end).toMatchObject(DONE);
  await expectStates(root, "paused");
  expect(await root.berth("resume", "m")).toMatchObject({ status: 0 });
  await using failed = await waiter(root, "failed");
  const { leader } = await root.recordWhen("m");
  process.kill(leader.pid, "SIGKILL");
  expect(await failed.end).toMatchObject(DONE);
  await expectStates(root, "stopped", "failed");
  expect(await root.berth("daemon", "stop")).toMatchObject({ status: 0 });
  await expectStates(root, "stopped", "failed");
});

test("paused is waited for where no daemon runs", async () => {
  await using live = await liveMachine();
  await using paused = await waiter(live.root, "paused");
  expect(await live.berth("pause", "m")).toMatchObject({ status: 0 });
  expect(await paused.end).toMatchObject(DONE);
  await expectStates(live.root, "paused");
  expect(await live.berth("resume", "m")).toMatchObject({ status: 0 });
});

test("what is no state that can be waited for is named with those that are", async () => {
  await using root = berthRoot();
  expect(await root.berth("wait", "m", "starting")).toMatchObject({
    status: 2,
    stderr: "berth: starting: berth wait can wait for running, stopped, paused, failed\n",
  });
});
