/** Machines outlive the daemon: stopped or killed, the next one has them again, with all that belongs to them. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { MachineView } from "../../src/manager/machine-view.ts";
import { type BerthRoot, berthRoot, buildBerth, isRunning, poll } from "../lib/berth.ts";
import { berthd, killDaemon } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { ENDLESS, shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

async function succeeds(root: BerthRoot, ...words: string[]): Promise<string> {
  const { status, stdout, stderr } = await root.berth(...words);
  expect([status, stderr]).toEqual([0, ""]);
  return stdout;
}

async function startDaemon(root: BerthRoot): Promise<void> {
  expect((await root.berth("daemon", "start")).status).toBe(0);
}

async function list(root: BerthRoot): Promise<readonly MachineView[]> {
  return JSON.parse(await succeeds(root, "list", "--json"));
}

/** Of machines that run on without a daemon: that nobody looks after them is said, too. */
async function listAlone(root: BerthRoot): Promise<readonly MachineView[]> {
  const { status, stdout, stderr } = await root.berth("list", "--json");
  expect([status, stderr]).toEqual([
    0,
    expect.stringMatching(/^berth: berthd does not run: nobody looks after its machines\n/),
  ]);
  return JSON.parse(stdout);
}

function inside(root: BerthRoot, script: string): Promise<string> {
  return succeeds(root, "exec", "m", "--", "sh", "-c", script);
}

/** How many boots that have ended are kept. */
function boots(root: BerthRoot): number {
  const directory = join(root.path, "run/history/m");
  return existsSync(directory) ? readdirSync(directory).length : 0;
}

const WAYS: Readonly<Record<string, (root: BerthRoot) => Promise<unknown>>> = {
  "daemon stop": (root) => succeeds(root, "daemon", "stop"),
  "kill -9": killDaemon,
};

describe.each(Object.keys(WAYS))("after %s", (way) => {
  const end = WAYS[way] as (root: BerthRoot) => Promise<unknown>;

  test("a machine runs on, is seen meanwhile, and is the next daemon's: console, commands, poweroff", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m", `echo first; (while :; do echo tick; sleep 0.1; done) & ${ENDLESS}`);
    await succeeds(root, "start", "m");
    const [before] = await list(root);
    expect(before).toMatchObject({ name: "m", state: "running", ready: true, managed: true });
    await end(root);
    // Without a daemon the records tell.
    expect(await listAlone(root)).toEqual([before]);
    expect(await inside(root, "echo alone")).toBe("alone\n");
    const said = root.consoleLog("m").length;
    await poll("its console without a daemon", () => (root.consoleLog("m").length > said ? true : undefined));

    await startDaemon(root);
    expect(await list(root)).toEqual([before]);
    expect(root.record("m")?.supervisor.pid).toBe(root.daemonPid());
    expect(await inside(root, "echo again; exit 0")).toBe("again\n");
    expect((await root.berth("exec", "m", "--", "sh", "-c", "exit 7")).status).toBe(7);
    const later = root.consoleLog("m").length;
    await poll("its console with the next one", () => (root.consoleLog("m").length > later ? true : undefined));
    expect((await root.berth("start", "m")).stderr).toMatch(/^berth: machine m is running already/);
    await succeeds(root, "poweroff", "m");
    expect(boots(root)).toBe(1);
    expect(await list(root)).toEqual([]);
    expect(root.leftovers()).toEqual([]);
  });

  test("an ephemeral machine has its changes, also over a reboot, and none are left when it ends", async () => {
    await using root = berthRoot();
    const tree = await shellMachine(root, "m", ENDLESS, "[Exec]\nEphemeral=yes");
    await succeeds(root, "start", "m");
    await inside(root, "echo kept >/etc/mark");
    await end(root);
    await startDaemon(root);
    expect(await inside(root, "cat /etc/mark")).toBe("kept\n");
    const first = root.record("m");
    await root.berth("exec", "m", "--", "/probe", "reboot", "restart");
    await root.recordWhen("m", ({ leader, ready }) => ready && leader.startTime !== first?.leader.startTime);
    expect(await inside(root, "cat /etc/mark")).toBe("kept\n");
    await end(root);
    await startDaemon(root);
    expect(await inside(root, "cat /etc/mark")).toBe("kept\n");
    await succeeds(root, "poweroff", "m");
    expect(existsSync(join(tree, "etc/mark"))).toBe(false);
    expect(boots(root)).toBe(2);
    expect(root.leftovers()).toEqual([]);
  });

  test("one that fails meanwhile has failed, with its reason and its last words; a start clears that", async () => {
    await using root = berthRoot();
    await shellMachine(
      root,
      "m",
      "trap 'echo last words; exit 3' TERM; echo up; while :; do sleep 1000 & wait $!; done",
    );
    await succeeds(root, "start", "m");
    const { leader } = await root.recordWhen("m");
    await poll("its trap", () => root.consoleLog("m").includes("up") || undefined);
    await end(root);
    process.kill(leader.pid, "SIGTERM");
    await poll("its end", () => (isRunning(leader.pid) ? undefined : true));
    await startDaemon(root);
    const reason = "its PID 1 exited with status 3";
    for (let round = 0; round < 2; round++) {
      expect(await list(root)).toMatchObject([{ name: "m", state: "failed", leader: null, managed: false, reason }]);
      expect(root.leftovers()).toEqual([]);
      const state = JSON.parse(readFileSync(join(root.path, "run/state/m.json"), "utf8"));
      expect(state).toMatchObject({ next: null, failure: { reason, console: ["up", "last words"] } });
      await end(root);
      await startDaemon(root);
    }
    expect(boots(root)).toBe(1);
    await succeeds(root, "start", "m");
    expect(await list(root)).toMatchObject([{ name: "m", state: "running", reason: null }]);
    expect(existsSync(join(root.path, "run/state/m.json"))).toBe(false);
    await succeeds(root, "terminate", "m");
    expect(await list(root)).toEqual([]);
  });

  test("one that powers itself off meanwhile stays off", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m");
    await succeeds(root, "start", "m");
    const { keeper } = await root.recordWhen("m");
    await end(root);
    await root.berth("exec", "m", "--", "/probe", "reboot", "poweroff");
    await poll("its end", () => (isRunning(keeper.pid) ? undefined : true));
    await startDaemon(root);
    expect(await list(root)).toEqual([]);
    expect(root.leftovers()).toEqual([]);
    expect(boots(root)).toBe(1);
  });

  test("one that reboots meanwhile is booted by the next", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m", ENDLESS, "[Exec]\nEphemeral=yes");
    await succeeds(root, "start", "m");
    await inside(root, "echo kept >/etc/mark");
    const { keeper, leader } = await root.recordWhen("m");
    await end(root);
    await root.berth("exec", "m", "--", "/probe", "reboot", "restart");
    await poll("its end", () => (isRunning(keeper.pid) ? undefined : true));
    await startDaemon(root);
    await root.recordWhen("m", (record) => record.ready && record.leader.startTime !== leader.startTime);
    expect(await inside(root, "cat /etc/mark")).toBe("kept\n");
    await succeeds(root, "poweroff", "m");
    expect(root.leftovers()).toEqual([]);
  });

  test("who waits for one that was told to reboot waits for its next boot", async () => {
    await using root = berthRoot();
    // Longer than a command takes on a busy host.
    await shellMachine(root, "m", "trap 'exec /probe reboot restart' INT; while :; do sleep 5; done");
    await succeeds(root, "start", "m");
    const { leader } = await root.recordWhen("m");
    await succeeds(root, "reboot", "m");
    expect(root.record("m")?.leader).toEqual(leader); // its init has not even woken up
    await succeeds(root, "wait", "m");
    expect(root.record("m")?.leader).not.toEqual(leader);
    await succeeds(root, "terminate", "m");
  });

  test("one that is held back between two boots is booted by the next, and terminate ends it", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m", "exec /probe reboot restart");
    await using start = root.start("start", "m");
    await start.end;
    await poll("the pause", () => (logOf(root).includes("it waits for 2 s") ? true : undefined));
    // It boots now and then.
    await expect
      .poll(() => list(root), { timeout: 20_000 })
      .toMatchObject([{ name: "m", state: "starting", leader: null, managed: true }]);
    await end(root);
    const before = boots(root);
    await startDaemon(root);
    await poll("more boots", () =>
      logOf(root).split("it waits for 1 s").length > 2 || boots(root) > before ? true : undefined,
    );
    await succeeds(root, "terminate", "m");
    expect(await list(root)).toEqual([]);
    expect(root.leftovers()).toEqual([]);
    await end(root);
    await startDaemon(root);
    expect(await list(root)).toEqual([]);
  });

  test("one that was paused is paused, and goes on", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m");
    await succeeds(root, "start", "m");
    await succeeds(root, "pause", "m");
    await end(root);
    expect(await listAlone(root)).toMatchObject([{ state: "paused" }]);
    await startDaemon(root);
    expect(await list(root)).toMatchObject([{ state: "paused" }]);
    await succeeds(root, "resume", "m");
    expect(await inside(root, "echo on")).toBe("on\n");
    await succeeds(root, "pause", "m");
    await succeeds(root, "terminate", "m");
    expect(root.leftovers()).toEqual([]);
  });
});

/** Its init becomes ready when there is a file. */
const SLOW = "trap 'exit 0' TERM; while [ ! -e /go ]; do sleep 0.05; done; exec /probe init --ready --term";

describe("a start that is not over", () => {
  test("one that is paused while it boots is so, and ready when it has gone on", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m", SLOW, "[Exec]\nNotifyReady=yes");
    await using start = root.start("start", "m", "--timeout=infinity");
    await root.recordWhen("m");
    await expect.poll(() => list(root), { timeout: 20_000 }).toMatchObject([{ state: "starting" }]);
    await succeeds(root, "pause", "m");
    await succeeds(root, "wait", "m", "paused", "--timeout=30");
    expect(await list(root)).toMatchObject([{ state: "paused", ready: false }]);
    writeFileSync(join(root.machines, "m/go"), "");
    await succeeds(root, "resume", "m");
    expect((await start.end).status).toBe(0);
    expect(await list(root)).toMatchObject([{ state: "running", ready: true }]);
    await succeeds(root, "terminate", "m");
  });

  test("when the daemon stops hears so; the machine goes on, and is ready under the next one", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m", SLOW, "[Exec]\nNotifyReady=yes");
    await using start = root.start("start", "m");
    await root.recordWhen("m");
    await succeeds(root, "daemon", "stop");
    expect(await start.end).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^berth: the daemon ends\nhint: /),
    });
    expect(await listAlone(root)).toMatchObject([{ name: "m", state: "starting", ready: false }]);
    await startDaemon(root);
    await inside(root, "touch /go");
    await succeeds(root, "wait", "m", "running");
    expect(await list(root)).toMatchObject([{ name: "m", state: "running", ready: true, managed: true }]);
    await succeeds(root, "poweroff", "m");
    expect(root.leftovers()).toEqual([]);
  });

  test("within its time has failed, says the console's last lines, and is shown so", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m", `echo some words; ${SLOW}`, "[Exec]\nNotifyReady=yes");
    const { status, stderr } = await root.berth("start", "m", "--timeout=4");
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(/^berth: machine m was not ready within 4 s\nberth: console: some words\nhint: /),
    ]);
    expect(await list(root)).toMatchObject([{ name: "m", state: "failed", reason: "was not ready within 4 s" }]);
    expect(root.leftovers()).toEqual([]);
    expect((await root.berth("wait", "m", "stopped")).status).toBe(0);
  });

  test("meanwhile can be ended by terminate and poweroff, and says so", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m", SLOW, "[Exec]\nNotifyReady=yes");
    for (const words of [
      ["terminate", "m"],
      ["poweroff", "m"],
    ]) {
      await using start = root.start("start", "m");
      await root.recordWhen("m");
      await root.berth(...words);
      expect((await start.end).status).toBe(1);
      expect(start.stderr).toMatch(/^berth: .*machine m/);
      expect((await list(root)).filter(({ state }) => state !== "failed")).toEqual([]);
      expect(root.leftovers()).toEqual([]);
    }
  });
});

function logOf(root: BerthRoot): string {
  return readFileSync(join(root.path, "run/berthd.log"), "utf8");
}

describe("keepers", () => {
  test("that is killed takes its machine along, which has failed", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m");
    await succeeds(root, "start", "m");
    const { keeper, leader } = await root.recordWhen("m");
    process.kill(keeper.pid, "SIGKILL");
    await poll("its end", () => (isRunning(leader.pid) ? undefined : true));
    await poll("failed", () => (existsSync(join(root.path, "run/state/m.json")) ? true : undefined));
    expect(await list(root)).toMatchObject([{ name: "m", state: "failed" }]);
    expect(root.leftovers()).toEqual([]);
    await succeeds(root, "start", "m");
    await succeeds(root, "terminate", "m");
  });

  test("that does not end when its machine is killed: terminate says so after a while, and nobody else waits", async () => {
    await using root = berthRoot();
    await Promise.all([shellMachine(root, "m"), shellMachine(root, "other")]);
    await succeeds(root, "start", "m", "other");
    const { keeper } = await root.recordWhen("m");
    process.kill(keeper.pid, "SIGSTOP");
    await using terminate = root.start("terminate", "m");
    await succeeds(root, "poweroff", "other");
    expect((await root.berth("start", "m")).stderr).toMatch(/^berth: machine m is busy: it is stopping/);
    const { status, stderr } = await terminate.end;
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /^berth: machine m was killed, and has not ended within 10 s: left are PID \d+ \(berth-keeper, state T\)/,
    );
    process.kill(keeper.pid, "SIGCONT");
    await succeeds(root, "wait", "m", "stopped");
    expect(await list(root)).toEqual([]);
    expect(root.leftovers()).toEqual([]);
  });

  test("that was killed while no daemon ran: the machine is seen, and terminate ends all of it", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m");
    await succeeds(root, "start", "m");
    const { keeper, leader } = await root.recordWhen("m");
    await killDaemon(root);
    process.kill(keeper.pid, "SIGKILL");
    await poll("its end", () => (isRunning(keeper.pid) ? undefined : true));
    expect(isRunning(leader.pid)).toBe(true);
    await startDaemon(root);
    expect(await list(root)).toMatchObject([{ name: "m", leader: leader.pid }]);
    expect((await root.berth("start", "m")).stderr).toMatch(/^berth: machine m is running already/);
    await succeeds(root, "terminate", "m");
    expect(isRunning(leader.pid)).toBe(false);
    expect(root.leftovers()).toEqual([]);
    await succeeds(root, "start", "m");
    await succeeds(root, "terminate", "m");
  });
});

test("of several starts of one name at once exactly one wins, and the others hear why they don't", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m");
  await startDaemon(root);
  const ends = await Promise.all(Array.from({ length: 8 }, () => root.berth("start", "m")));
  const lost = ends.filter(({ status }) => status !== 0);
  expect(lost).toHaveLength(7);
  for (const { status, stderr } of lost)
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(/^berth: (m is busy: start for \d+\.\d s\nhint: .*|machine m is running already)\n$/),
    ]);
  expect(await list(root)).toMatchObject([{ name: "m", state: "running" }]);
  await succeeds(root, "terminate", "m");
});

/** Null: it is gone. */
function spoil(path: string, text: string | null): void {
  if (text === null) rmSync(path);
  else writeFileSync(path, text);
}

describe("damage", () => {
  test("of state files: they are set aside and named, and the daemon starts", async () => {
    await using root = berthRoot();
    const state = join(root.path, "run/state");
    mkdirSync(state, { recursive: true });
    const files = { cut: '{"version":1,"na', empty: "", newer: '{"version":2}', odd: "[]" };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(state, `${name}.json`), text);
    await using daemon = await berthd(root);
    expect(await list(root)).toEqual([]);
    for (const name of ["cut", "empty", "odd"])
      expect(daemon.stderr).toMatch(
        new RegExp(`/state/${name}\\.json is damaged: .*it is \\S+${name}\\.json\\.corrupt-`),
      );
    expect(daemon.stderr).toMatch(/newer\.json is of version 2, .*is left alone/);
    expect(
      readdirSync(state)
        .map((name) => name.replace(/\d+$/, ""))
        .sort(),
    ).toEqual(["cut.json.corrupt-", "empty.json.corrupt-", "newer.json", "odd.json.corrupt-"]);
    daemon.kill();
    expect((await daemon.end).status).toBe(0);
  });

  test.each([
    ["cut", '{"version":1,"na'],
    ["empty", ""],
    ["missing", null],
  ])(
    "of the record of a machine that runs (%s): it is set aside and made anew, and the machine taken over",
    async (_, text) => {
      await using root = berthRoot();
      await Promise.all([shellMachine(root, "m"), shellMachine(root, "other")]);
      await succeeds(root, "start", "m", "other");
      const file = join(root.path, "run/running/m/record.json");
      const { leader } = JSON.parse(readFileSync(file, "utf8"));
      await killDaemon(root);
      spoil(file, text);
      await startDaemon(root);
      expect(await list(root)).toMatchObject([
        { name: "m", state: "running" },
        { name: "other", state: "running" },
      ]);
      expect(root.record("m")?.leader).toEqual(leader);
      expect(logOf(root)).toMatch(
        /record\.json (was gone|is damaged: .*: it is \S+\.corrupt-\d+ now), and is made anew/,
      );
      const aside = readdirSync(join(root.path, "run/running/m")).filter((name) => name.includes("corrupt"));
      expect(aside.length).toBe(text === null ? 0 : 1);
      expect((await root.berth("exec", "m", "--", "echo", "on")).stdout).toBe("on\n");
      await succeeds(root, "poweroff", "m", "other");
      expect(root.leftovers()).toEqual([]);
    },
  );

  test.each([
    ["newer", '{"version":2}', '{"version":2}'],
    ["cut, as its copy is", '{"version":1,"na', "{"],
    ["missing, as its copy is", null, null],
  ])("of the record of a machine that runs (%s) keeps no daemon from the others", async (kind, text, copy) => {
    await using root = berthRoot();
    await Promise.all([shellMachine(root, "m"), shellMachine(root, "other")]);
    await succeeds(root, "start", "m", "other");
    await killDaemon(root);
    spoil(join(root.path, "run/running/m/record.json"), text);
    spoil(join(root.path, "run/running/m/record.copy.json"), copy);
    await startDaemon(root);
    const views = await list(root);
    // One without a record was about to start: who asked for that has gone.
    if (kind.startsWith("missing")) expect(views).toMatchObject([{ name: "other", state: "running" }]);
    else {
      expect(views).toMatchObject([
        { name: "m", state: "unknown", reason: expect.stringMatching(/record\.json is /) },
        { name: "other", state: "running" },
      ]);
      expect((await root.berth("start", "m")).stderr).toMatch(/^berth: machine m is running already/);
      await succeeds(root, "terminate", "m");
    }
    await succeeds(root, "start", "m");
    await succeeds(root, "poweroff", "m", "other");
    expect(root.leftovers()).toEqual([]);
  });

  test("by a directory of rubbish among the records: it is cleaned up, or left, and nobody minds", async () => {
    await using root = berthRoot();
    for (const name of ["rubbish", "a b", "..."]) {
      mkdirSync(join(root.path, "run/running", name, "deep/er"), { recursive: true });
      writeFileSync(join(root.path, "run/running", name, "leftovers.json"), '[{"kind":"make-cgroup","args":{}}]');
    }
    writeFileSync(join(root.path, "run/running/file"), "");
    await startDaemon(root);
    expect(await list(root)).toEqual([]);
    await shellMachine(root, "m");
    await succeeds(root, "start", "m");
    await succeeds(root, "poweroff", "m");
    rmSync(join(root.path, "run/running"), { recursive: true });
  });
});
