/** Machines that a `berth run` has in the foreground, beside the daemon: seen as they are, and none of its own. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import type { MachineView } from "../../src/manager/machine-view.ts";
import { type BerthRoot, berthRoot, buildBerth, isRunning, poll } from "../lib/berth.ts";
import { berthd, connect, killDaemon } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

async function list(root: BerthRoot): Promise<readonly MachineView[]> {
  const { stdout } = await root.berth("list", "--json");
  return JSON.parse(stdout);
}

/** What `berth list` says in the end: the daemon may hear of it a moment later. */
async function listed(root: BerthRoot, is: (views: readonly MachineView[]) => boolean): Promise<void> {
  let views: readonly MachineView[] = [];
  for (const deadline = performance.now() + 5000; performance.now() < deadline; ) {
    views = await list(root);
    if (is(views)) return;
  }
  throw new Error(`list says ${JSON.stringify(views)}`);
}

test("is listed as it is, from its start to its end, and can be ended by every verb", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m", "while [ ! -e /go ]; do sleep 0.05; done; exec /probe init --ready --term");
  await using daemon = await berthd(root);
  await using wire = await connect(root);
  wire.ask("events");
  const run = () => root.start("run", "-M", "m", "-b", "--notify-ready=yes", "--console=read-only");
  await using first = run();
  await listed(root, ([view]) => view?.state === "starting" && !view.ready && !view.managed);
  expect((await root.berth("start", "m")).stderr).toMatch(/^berth: machine m is running already/);
  expect((await root.berth("exec", "m", "--", "touch", "/go")).status).toBe(0);
  await listed(root, ([view]) => view?.state === "running" && view.ready);
  expect((await root.berth("wait", "m", "running", "--timeout=5")).status).toBe(0);
  expect((await root.berth("pause", "m")).status).toBe(0);
  await listed(root, ([view]) => view?.state === "paused");
  expect((await root.berth("resume", "m")).status).toBe(0);
  await listed(root, ([view]) => view?.state === "running");
  expect((await root.berth("poweroff", "m")).status).toBe(0);
  await first.end;
  await listed(root, (views) => views.length === 0);
  await poll("its events", () =>
    wire.replies.some((reply) => JSON.stringify(reply).includes('"removed"')) ? true : undefined,
  );

  await using second = run();
  await listed(root, ([view]) => view?.ready === true);
  expect((await root.berth("terminate", "m")).status).toBe(0);
  await second.end;
  await listed(root, (views) => views.length === 0);
  daemon.kill();
  expect((await daemon.end).status).toBe(0);
});

test("whose berth run is killed is gone from the list, and its name is free for the daemon", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m");
  await using daemon = await berthd(root);
  await using child = root.start("run", "-M", "m", "-b", "--console=read-only");
  await child.until(/^up/m);
  await listed(root, ([view]) => view?.name === "m" && view.state === "running");
  const { keeper } = await root.recordWhen("m");
  child.kill("SIGKILL");
  await child.end;
  await poll("its end", () => (isRunning(keeper.pid) ? undefined : true));
  await listed(root, (views) => views.length === 0);
  expect((await root.berth("wait", "m", "stopped", "--timeout=5")).status).toBe(0);
  expect(await root.berth("start", "m")).toMatchObject({ status: 0, stderr: "" });
  expect((await root.berth("terminate", "m")).status).toBe(0);
  expect(root.leftovers()).toEqual([]);
  daemon.kill();
  expect((await daemon.end).status).toBe(0);
});

test("that runs already is none of a daemon that starts, stops or is killed", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m");
  await using child = root.start("run", "-M", "m", "-b", "--console=read-only");
  await child.until(/^up/m);
  const before = await root.recordWhen("m");
  for (let round = 0; round < 3; round++) {
    await using daemon = await berthd(root);
    await listed(root, ([view]) => view?.name === "m" && !view.managed);
    expect(daemon.stderr).not.toContain('"machine":"m"');
    if (round === 0) await killDaemon(root);
    else daemon.kill();
    await daemon.end;
    expect(root.record("m")).toEqual(before);
  }
  child.kill();
  expect((await child.end).status).toBe(0);
});

test("whose record is damaged meanwhile is listed as unknown", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m");
  await using daemon = await berthd(root);
  await using child = root.start("run", "-M", "m", "-b", "--console=read-only");
  await child.until(/^up/m);
  await root.recordWhen("m");
  await listed(root, ([view]) => view?.state === "running");
  writeFileSync(join(root.path, "run/running/m/record.json"), "{");
  await listed(root, ([view]) => view?.state === "unknown");
  expect((await root.berth("terminate", "m")).status).toBe(0);
  await child.end;
  daemon.kill();
  expect((await daemon.end).status).toBe(0);
});
