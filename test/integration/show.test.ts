/** `berth show`, `berth status` and `berth why`: of machines that run, have ended, have failed, or never ran. */
import { chmodSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { Failure } from "../../src/manager/state-file.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

/** Its init is the host's shell, which runs this script. */
async function makeMachine(root: BerthRoot, script: string, settings = ""): Promise<string> {
  const tree = await probeTree({ at: join(root.machines, "m") });
  for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(tree, name));
  const path = root.settings("m", `[Exec]\nHostname=emm\n${settings}[Files]\nBindReadOnly=/usr\n`);
  writeFileSync(join(tree, "sbin/init"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
}

async function json(root: BerthRoot, ...words: string[]): Promise<Record<string, unknown>> {
  const { stdout, stderr } = await root.berth(...words, "--json");
  expect(stderr).toBe("");
  return JSON.parse(stdout);
}

/** Of a machine that runs on without its daemon: that nobody looks after it is said, too. */
async function jsonAlone(root: BerthRoot, ...words: string[]): Promise<Record<string, unknown>> {
  const { stdout, stderr } = await root.berth(...words, "--json");
  expect(stderr).toBe("berth: berthd does not run: nobody looks after its machines\nhint: berth daemon start\n");
  return JSON.parse(stdout);
}

const RUNS = "echo it runs; exec sleep 100000";
const FIELDS = [
  ...["name", "class", "service", "state", "os", "version", "addresses", "leader", "unit", "since", "image", "ready"],
  ...["id", "rootDirectory", "settings", "limits", "usage", "uidShift", "cgroup", "exit", "restarts"],
];

describe("of a machine that runs", () => {
  test("show has the fields that scripts rely on, by the daemon as without it", async () => {
    await using root = berthRoot();
    const path = await makeMachine(root, RUNS);
    expect((await root.berth("start", "m")).status).toBe(0);
    for (const address of ["10.1.2.3/32", "fd00::7/128"])
      expect((await root.berth("exec", "m", "--", "/usr/sbin/ip", "addr", "add", address, "dev", "lo")).status).toBe(0);
    const told = await json(root, "show", "m");
    for (const field of FIELDS) expect(told).toHaveProperty(field);
    const listed = async (): Promise<unknown> => JSON.parse((await root.berth("list", "--json")).stdout);
    expect(await listed()).toMatchObject([{ name: "m", addresses: ["10.1.2.3", "fd00::7"] }]);
    const record = root.record("m");
    expect(told).toMatchObject({
      ...{ name: "m", class: "container", service: "berth", state: "running", ready: true, restarts: 0, exit: null },
      ...{ id: record?.machineId, uidShift: record?.uidShift, cgroup: record?.cgroup, leader: record?.leader.pid },
      rootDirectory: join(root.machines, "m"),
      settings: [
        { section: "Exec", key: "Hostname", value: "emm", source: `${path}:2` },
        { section: "Files", key: "BindReadOnly", value: "/usr", source: `${path}:4` },
      ],
      addresses: ["10.1.2.3", "fd00::7"],
      // The keeper, and sleep.
      usage: { tasks: 2, cpuUsec: expect.any(Number) },
      failure: null,
    });
    expect((await root.berth("daemon", "stop")).status).toBe(0);
    const { usage: _, ...offline } = await jsonAlone(root, "show", "m");
    const { usage: __, ...online } = told;
    expect(await listed()).toMatchObject([{ name: "m", addresses: ["10.1.2.3", "fd00::7"] }]);
    expect(offline).toEqual(online);
    const page = await root.berth("status", "m");
    expect(page.status).toBe(0);
    expect(page.stdout).toMatch(/^ {2}State +running, since /m);
    expect(page.stdout).toMatch(/^ {2}Usage .*2 tasks, CPU /m);
    expect(page.stdout).toMatch(/^ {2}Console it runs$/m);
    expect(page.stdout).toMatch(/^ {2}Address 10\.1\.2\.3\n {10}fd00::7\n/m);
    expect(await jsonAlone(root, "status", "m")).toMatchObject({
      console: ["it runs"],
      usage: { tasks: 2 },
      failure: null,
    });
    expect((await root.berth("why", "m")).stdout).toMatch(/^m is running since \S+\.\n$/);
    expect((await root.berth("terminate", "m")).status).toBe(0);
  });

  test("show prints properties as lines, those that are asked for, and of several machines", async () => {
    await using root = berthRoot();
    await makeMachine(root, RUNS);
    expect((await root.berth("start", "m")).status).toBe(0);
    const { leader } = await root.recordWhen("m");
    const all = (await root.berth("show", "m")).stdout;
    expect(all).toMatch(/^Name=m\n/);
    expect(all).toContain(`Leader=${leader.pid}\n`);
    expect(all).toContain("Settings=[Exec] Hostname=emm\n");
    expect(all).toMatch(/^UsageTasks=2$/m);
    expect(all).not.toMatch(/=$/m);
    expect((await root.berth("show", "m", "-p", "State,Leader")).stdout).toBe(`State=running\nLeader=${leader.pid}\n`);
    expect((await root.berth("show", "m", "-p", "leader", "--value")).stdout).toBe(`${leader.pid}\n`);
    expect(JSON.parse((await root.berth("show", "m", "--json", "-p", "state")).stdout)).toEqual({ state: "running" });
    expect(await root.berth("show", "m", "-p", "leeder")).toMatchObject({
      status: 2,
      stderr: "berth: leeder is no property of a machine\nhint: did you mean Leader?\n",
    });
    await probeTree({ at: join(root.machines, "n") });
    const both = JSON.parse((await root.berth("show", "m", "n", "--json")).stdout);
    expect(both).toMatchObject([{ name: "m" }, { name: "n", state: "stopped" }]);
    expect((await root.berth("terminate", "m")).status).toBe(0);
  });

  test("limits are shown as they are now", async (ctx) => {
    needsHere(ctx, "controller:memory", "controller:pids", "controller:cpu");
    await using root = berthRoot();
    await makeMachine(root, RUNS);
    expect((await root.berth("start", "m")).status).toBe(0);
    const set = await root.berth("set-property", "m", "TasksMax=77", "MemoryMax=64M", "CPUQuota=150%");
    expect(set.status, set.stderr).toBe(0);
    const limits = { tasksMax: 77, memoryMax: 64 << 20, cpuQuota: 150 };
    expect(await json(root, "show", "m")).toMatchObject({ limits, usage: { memory: expect.any(Number) } });
    expect((await root.berth("status", "m")).stdout).toMatch(/memory .* of 64\.0M, 2 of 77 tasks/);
    expect((await root.berth("terminate", "m")).status).toBe(0);
  });
});

const LIKE_A_USER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

test("other users see by the daemon what is no secret", async (ctx) => {
  needsHere(ctx, "tool:setpriv");
  await using root = berthRoot();
  const path = await makeMachine(root, "echo secret; exit 3", "NotifyReady=yes\nEnvironment=PASSWORD=x\n");
  expect((await root.berth("start", "m")).status).toBe(1);
  const above = dirname(root.path);
  for (const directory of [above, root.path]) chmodSync(directory, 0o755);
  // It is all tests', who would be told that users of the host can come to their trees.
  ctx.onTestFinished(() => chmodSync(above, 0o700));
  const asNobody = (...words: string[]) => root.spawn([...LIKE_A_USER, BERTH, ...words]).end;
  chmodSync(join(root.path, "run"), 0o700);
  expect(await asNobody("list")).toMatchObject({
    status: 1,
    stderr: `berth: berthd can't be reached: ${join(root.path, "run")}: EACCES\nhint: run this as root\n`,
  });
  chmodSync(join(root.path, "run"), 0o755);
  const shown = JSON.parse((await asNobody("show", "m", "--json")).stdout);
  expect(shown).toMatchObject({ state: "failed", failure: null, reason: null, image: null });
  expect(JSON.stringify(shown.settings)).toContain("PASSWORD");
  chmodSync(path, 0o600);
  expect(JSON.parse((await asNobody("show", "m", "--json")).stdout).settings).toEqual([]);
  const { status, stdout } = await asNobody("status", "m");
  expect(status).toBe(3);
  expect(stdout).toMatch(/^m\n {2}State +failed\n/);
  expect(stdout).not.toContain("secret");
  expect((await asNobody("logs", "m")).stderr).toMatch(/can be read by root only\nhint: run this as root\n$/);
  for (const words of [
    ["why", "m"],
    ["poweroff", "m"],
    ["exec", "-u", "1", "m", "--", "true"],
    ["remove", "m"],
    ["daemon", "stop"],
  ])
    expect((await asNobody(...words)).stderr).toMatch(
      /^berth: berth (\S+|daemon stop) is for root only\nhint: run this as root\n$/,
    );
});

test("what has failed is forgotten with its image, and when that has another name; with and without a daemon", async () => {
  await using root = berthRoot();
  await makeMachine(root, "exit 3", "NotifyReady=yes\n"); // however slow the host is: it was never ready
  const failed = async () =>
    JSON.parse((await root.berth("list", "--json")).stdout).map(({ name }: { name: string }) => name);
  expect((await root.berth("start", "m")).status).toBe(1);
  expect(await failed()).toEqual(["m"]);
  expect(await root.berth("rename", "m", "n")).toMatchObject({ status: 0, stderr: "" });
  expect(await failed()).toEqual([]);
  expect((await root.berth("start", "n")).status).toBe(1);
  expect(await failed()).toEqual(["n"]);
  expect((await root.berth("daemon", "stop")).status).toBe(0);
  expect((await root.berth("remove", "n")).status).toBe(0);
  expect((await root.berth("daemon", "start")).status).toBe(0);
  expect(await failed()).toEqual([]);
});

describe("of a machine that", () => {
  test("ended badly: how, when, and what it said last", async () => {
    await using root = berthRoot();
    await makeMachine(root, "echo a reason; while [ ! -e /go ]; do sleep 0.05; done; exit 3");
    expect((await root.berth("start", "m")).status).toBe(0);
    writeFileSync(join(root.machines, "m/go"), "");
    expect((await root.berth("wait", "m", "stopped")).status).toBe(0);
    const exit = { reason: "exited", status: 3, signal: null };
    expect(await json(root, "show", "m")).toMatchObject({
      ...{ state: "failed", leader: null, ready: false, exit, cgroup: null },
      id: expect.stringMatching(/^[0-9a-f]{32}$/),
    });
    const { status, stdout } = await root.berth("status", "m");
    expect(status).toBe(3);
    expect(stdout).toMatch(/^ {2}State +failed\n {2}Failure +its PID 1 exited with status 3\n {2}Ended +PID 1 exited/m);
    expect(stdout).toMatch(/^ {2}Console a reason$/m);
    const why = (await root.berth("why", "m")).stdout;
    expect(why).toMatch(/^m has failed at \S+: its PID 1 exited with status 3\.\n/);
    expect(why).toMatch(
      /^Its last boot began at \S+, ran for [\d.]+ s and ended so: its PID 1 exited with status 3\.$/m,
    );
    expect(why).toMatch(/^Its last lines on the console:\n {2}a reason\n$/m);
    expect(await json(root, "why", "m")).toMatchObject({ state: "failed", exit, console: ["a reason"], lines: [] });
  });

  test("was killed by a signal in the foreground: without a daemon, too", async () => {
    await using root = berthRoot();
    await makeMachine(root, "echo dying; kill -SYS $$; exec sh -c 'kill -SEGV 1'");
    const ended = await root.berth("run", "-q", "-M", "m", "-b", "--console=passive");
    const { exit, state } = await json(root, "show", "m");
    expect(state).toBe("stopped");
    expect(exit).toMatchObject({ status: ended.status === 0 ? 0 : (ended.status ?? 0) < 128 ? ended.status : null });
    const why = (await root.berth("why", "m")).stdout;
    expect(why).toMatch(/^m does not run, and nothing went wrong that berth knows of\.\nIts last boot began at /);
  });

  test("ended while no daemon ran: that it has failed is known at once, and when", async () => {
    await using root = berthRoot();
    await makeMachine(root, RUNS);
    for (const _ of ["the first boot", "one after another"]) {
      expect((await root.berth("start", "m")).status).toBe(0);
      const { leader, times } = await root.recordWhen("m");
      expect((await root.berth("daemon", "stop")).status).toBe(0);
      process.kill(leader.pid, "SIGKILL");
      const exit = { reason: "killed", status: null, signal: "SIGKILL" };
      await expect.poll(() => json(root, "show", "m")).toMatchObject({ state: "failed", exit });
      const { failure } = await json(root, "show", "m");
      const time = (failure as Failure).time ?? Number.NaN;
      const ago = Date.now() - time;
      expect(ago).toBeGreaterThanOrEqual(0);
      expect(failure).toMatchObject({ reason: "its PID 1 was killed by SIGKILL", console: ["it runs"] });
      expect(await json(root, "list")).toMatchObject([
        { name: "m", state: "failed", reason: (failure as Failure).reason },
      ]);
      const why = (await root.berth("why", "m")).stdout;
      expect(why).toMatch(`m has failed at ${new Date(time).toISOString()}: its PID 1 was killed`);
      expect(why).toContain(`\nIts last boot began at ${new Date(times.began).toISOString()}, ran for `);
      expect(why).toContain("killed by SIGKILL");
      expect((await root.berth("status", "m")).stdout).toContain("SIGKILL");
      expect((await root.berth("daemon", "start")).status).toBe(0);
      expect(await json(root, "show", "m")).toMatchObject({ state: "failed", exit, failure });
      expect((await root.berth("why", "m")).stdout).toMatch(/^m has failed at /);
    }
  });

  test("powered itself off, or was stopped: nothing is wrong", async () => {
    await using root = berthRoot();
    await makeMachine(root, "trap 'exit 0' RTMIN+3 TERM; echo up; while :; do sleep 0.1; done");
    expect((await root.berth("start", "m")).status).toBe(0);
    expect((await root.berth("terminate", "m")).status).toBe(0);
    const exit = { reason: "killed", status: null, signal: "SIGKILL" };
    expect(await json(root, "show", "m")).toMatchObject({ state: "stopped", exit, failure: null, reason: null });
    const why = (await root.berth("why", "m")).stdout;
    expect(why).toMatch(/^m does not run, and nothing went wrong/);
    expect(why).toMatch(/^SIGKILL comes from berth terminate/m);
  });

  test("can't be started: which line of its settings is to blame", async () => {
    await using root = berthRoot();
    const path = await makeMachine(root, RUNS, "KillSignal=NONSENSE\n");
    const start = await root.berth("start", "m");
    expect(start.status).toBe(1);
    for (const _ of ["with the daemon", "without"]) {
      const why = (await root.berth("why", "m")).stdout;
      expect(why).toMatch(new RegExp(`^m has failed at \\S+: ${path}:3:\\d+: .*NONSENSE`));
      expect(why).toContain(`\n  ${path}:3: KillSignal=NONSENSE\n`);
      expect((await root.berth("list")).stdout).toMatch(/^m +container +berth +failed .*m\.nspawn:3:/m);
      await root.berth("daemon", "stop");
    }
    expect(await json(root, "why", "m")).toMatchObject({
      lines: [{ file: path, line: 3, text: "KillSignal=NONSENSE" }],
    });
  });

  test("never ran: what would keep it from that", async () => {
    await using root = berthRoot();
    const path = await makeMachine(root, RUNS);
    expect((await root.berth("why", "m")).stdout).toBe(
      "m does not run, and nothing went wrong that berth knows of.\nm has not run since the host's boot.\n",
    );
    writeFileSync(path, "[Exec]\nCapability=CAP_FOO\n");
    const why = (await root.berth("why", "m")).stdout;
    expect(why).toMatch(new RegExp(`^It could not be started now: ${path}:2:.*CAP_FOO`, "m"));
    expect(why).toContain(`  ${path}:2: Capability=CAP_FOO\n`);
  });
});

test.each(["show", "status", "why", "logs"])("%s of a machine that there is not names the nearest", async (verb) => {
  await using root = berthRoot();
  await probeTree({ at: join(root.machines, "webserver") });
  for (const _ of ["without a daemon", "with one"]) {
    expect(await root.berth(verb, "webserve")).toMatchObject({
      ...{ status: 1, stdout: "" },
      stderr: 'berth: there is no machine "webserve"\nhint: did you mean webserver?\n',
    });
    expect((await root.berth("daemon", "start")).status).toBe(0);
  }
});
