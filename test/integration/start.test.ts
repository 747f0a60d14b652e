/** `berth start`: a machine in the background, and nothing of the start itself left behind. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { hash32 } from "../../src/host/hash.ts";
import { PICK_WINDOW, RANGE_SIZE } from "../../src/host/id-ranges.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth, isRunning, poll, type Running } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probeTree } from "../lib/probe.ts";
import { openTerminal } from "../lib/pty.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

async function makeMachine(root: BerthRoot): Promise<void> {
  await probeTree({ at: join(root.machines, "m"), init: true });
  root.settings("m", "[Exec]\nBoot=yes");
}

/** Its init is the host's shell, and never says that it is ready. */
async function makeEndlessStart(root: BerthRoot): Promise<void> {
  const tree = await probeTree({ at: join(root.machines, "m") });
  for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(tree, name));
  writeFileSync(join(tree, "sbin/init"), "#!/bin/sh\nexec sleep 100000\n", { mode: 0o755 });
  root.settings("m", "[Exec]\nNotifyReady=yes\n[Files]\nBindReadOnly=/usr");
}

/** Besides what belongs to the machine, and to the daemon. */
function filesOfTheStart(root: BerthRoot): string[] {
  const run = join(root.path, "run");
  const known = [
    "locks",
    "running",
    "state",
    "history",
    "berthd.lock",
    "berthd.log",
    "berthd.sock",
    "machines.json",
    "machines.json.new",
    "enabled-started",
    "bus",
    "bus.conf",
  ];
  return existsSync(run) ? readdirSync(run).filter((name) => !known.includes(name)) : [];
}

test("returns when the machine is ready, which then goes on", async () => {
  await using root = berthRoot();
  await makeMachine(root);
  expect(await root.berth("start", "m")).toMatchObject({ status: 0, stdout: "" });
  expect(root.record("m")).toMatchObject({ state: "running", ready: true });
  expect(filesOfTheStart(root)).toEqual([]);
  expect(await root.berth("terminate", "m")).toMatchObject({ status: 0, stderr: "" });
});

/** Two names that lead to the same range of ids, where no machine has one yet. */
function namesOfOneRange(machines: string): readonly [string, string] {
  const slots = (PICK_WINDOW.last - PICK_WINDOW.first) / RANGE_SIZE + 1;
  const names = new Map<number, string>();
  for (let index = 0; ; index++) {
    const name = `m${index}`;
    const slot = hash32(Buffer.from(`${machines}\0${name}`)) % slots;
    const other = names.get(slot);
    if (other !== undefined) return [other, name];
    names.set(slot, name);
  }
}

test("machines that pick the same range of ids at the same time get one each", async () => {
  await using root = berthRoot();
  const names = namesOfOneRange(root.machines);
  for (const name of names) {
    await probeTree({ at: join(root.machines, name), init: true });
    root.settings(name, "[Exec]\nBoot=yes");
  }
  expect(await root.berth("start", ...names)).toMatchObject({ status: 0 });
  const shifts = names.map((name) => root.record(name)?.uidShift);
  expect(new Set(shifts).size).toBe(2);
  expect(await root.berth("terminate", ...names)).toMatchObject({ status: 0, stderr: "" });
});

test("what the start complains about becomes the error", async () => {
  await using root = berthRoot();
  mkdirSync(join(root.machines, "m"));
  const { status, stdout, stderr } = await root.berth("start", "m");
  expect([status, stdout]).toEqual([1, ""]);
  expect(stderr).toMatch(/^berth: \S+\/machines\/m has no init to boot.*\nhint: install an init .*\n$/);
  expect(filesOfTheStart(root)).toEqual([]);
});

test("Boot=no: a command is ready when it runs, whatever init the tree has", async () => {
  await using root = berthRoot();
  const tree = await probeTree({ at: join(root.machines, "m") });
  mkdirSync(join(tree, "usr/lib/systemd"), { recursive: true });
  writeFileSync(join(tree, "usr/lib/systemd/systemd"), "", { mode: 0o755 });
  root.settings("m", "[Exec]\nBoot=no\nParameters=/probe init --term");
  expect(await root.berth("start", "m", "--timeout=10")).toMatchObject({ status: 0, stderr: "" });
  expect(root.record("m")).toMatchObject({ state: "running", ready: true, init: null });
  expect(await root.berth("poweroff", "m")).toMatchObject({ status: 0, stderr: "" });
});

test("says what makes the machine weaker, and warns", async () => {
  await using root = berthRoot();
  await makeMachine(root);
  root.settings("m", "[Exec]\nBoot=yes\nCapability=CAP_SYS_TIME\nEnviroment=x");
  const { status, stderr } = await root.berth("start", "m");
  expect(status).toBe(0);
  expect(stderr).toMatch(/^berth: .*warning: unknown setting "Enviroment"/m);
  expect(stderr).toMatch(/^berth: weaker than the default: it has more capabilities: CAP_SYS_TIME/m);
  expect((await root.berth("terminate", "m")).status).toBe(0);
});

test("reports all errors at once", async () => {
  await using root = berthRoot();
  await makeMachine(root);
  root.settings("m", "[Exec]\nBoot=x\nKillSignal=1000");
  const { status, stderr } = await root.berth("start", "m");
  expect(status).toBe(1);
  expect(stderr.match(/^berth: .*m\.nspawn:[23]:/gm)).toHaveLength(2);
});

test("goes on with the others where one fails, says of each why, and fails", async () => {
  await using root = berthRoot();
  await makeMachine(root);
  root.settings("m", "[Exec]\nKillSignal=SIGRTMIN+3");
  mkdirSync(join(root.machines, "empty"));
  const { status, stderr } = await root.berth("start", "empty", "m", "missing");
  expect(status).toBe(1);
  expect(stderr).toMatch(/^berth: .*\/machines\/empty .*$/m);
  expect(stderr).toMatch(/^berth: there is no machine missing in \S+\/machines$/m);
  expect(root.record("m")).toMatchObject({ state: "running", ready: true });
  // So do the verbs that end machines.
  const ended = await root.berth("poweroff", "empty", "m", "missing");
  expect(ended.status).toBe(1);
  expect(ended.stderr.match(/^berth: no machine "(empty|missing)" is running$/gm)).toHaveLength(2);
  expect(root.leftovers()).toEqual([]);
});

test("that takes too long leaves nothing of the machine", async () => {
  await using root = berthRoot();
  await makeEndlessStart(root);
  const { status, stderr } = await root.berth("start", "m", "--timeout=0.5");
  expect({ status, stderr }).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("was not ready within 0.5 s"),
  });
  for (const place of ["running", "locks"]) expect(readdirSync(join(root.path, "run", place))).toEqual([]);
});

test("writes to no file by name: a link in its way leads nowhere", async () => {
  await using root = berthRoot();
  await makeMachine(root);
  const victim = join(root.path, "victim");
  writeFileSync(victim, "as it was");
  mkdirSync(join(root.path, "run"));
  symlinkSync(victim, join(root.path, "run/start-m.log"));
  expect((await root.berth("start", "m")).status).toBe(0);
  expect(readFileSync(victim, "utf8")).toBe("as it was");
  expect((await root.berth("terminate", "m")).status).toBe(0);
});

function programOf({ pid }: Running): string {
  const path = `/proc/${pid}/exe`;
  return existsSync(path) ? basename(readlinkSync(path)) : "none";
}

test("signals leave nothing, whoever is on its way to take them", { timeout: 120_000 }, async () => {
  await using root = berthRoot();
  await makeEndlessStart(root);
  expect((await root.berth("daemon", "start")).status).toBe(0);
  const ended = (): true | undefined => (root.leftovers().length === 0 ? true : undefined);
  // Between the client that has asked for m, and Node, which is to say that there is no other.
  for (const delay of [0, 10, 30, 60, 100]) {
    await using child = root.start("start", "m", "missing");
    for (const late = Date.now() + 10_000; programOf(child) !== "node" && Date.now() < late; ) await sleep(1);
    await sleep(delay);
    child.kill("SIGTERM");
    await child.end;
    await poll(`its end, after ${delay} ms`, ended);
  }
  for (const second of ["SIGTERM", "SIGHUP"] as const)
    for (const delay of [0, 2, 30]) {
      await using child = root.start("start", "m");
      await root.recordWhen("m");
      child.kill("SIGTERM");
      await sleep(delay);
      child.kill(second);
      await child.end;
      await poll(`its end, by ${second} after ${delay} ms`, ended);
    }
});

describe.each([false, true])("while it waits, by a berthd that runs already: %s", (daemon) => {
  /** Who waits for it to be ready: without Node where berthd is there, and nothing is to be said. */
  async function starting(root: BerthRoot, ...more: readonly string[]): Promise<Running> {
    await makeEndlessStart(root);
    if (daemon) expect((await root.berth("daemon", "start")).status).toBe(0);
    const child = root.start("start", "m", ...more);
    await root.recordWhen("m");
    const expected = daemon && more.length === 0 ? /^start-client-/ : /^node$/;
    await poll(`${expected}`, () => expected.test(programOf(child)) || undefined);
    return child;
  }

  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "%s stops the machine again, and leaves nothing",
    async (signal) => {
      await using root = berthRoot();
      await using child = await starting(root);
      const { keeper } = await root.recordWhen("m");
      child.kill(signal);
      expect((await child.end).status).toBe(130);
      expect(isRunning(keeper.pid)).toBe(false);
      expect(readdirSync(join(root.path, "run/running"))).toEqual([]);
      expect(filesOfTheStart(root)).toEqual([]);
      expect((await root.run(join(root.machines, "m"), ["-M", "m"], ["/probe", "exit", "3"])).status).toBe(3);
    },
  );

  test("kill -9 leaves the machine, and no file", async () => {
    await using root = berthRoot();
    await using child = await starting(root);
    child.kill("SIGKILL");
    await child.end;
    expect(filesOfTheStart(root)).toEqual([]);
    expect((await root.berth("terminate", "m")).status).toBe(0);
  });

  test("what fails meanwhile is said at once, and the others can still be given up", async () => {
    await using root = berthRoot();
    await using child = await starting(root, "missing");
    const failure = /^berth: there is no machine missing in \S+\/machines$/m;
    await child.until(failure);
    const { keeper } = await root.recordWhen("m");
    expect(isRunning(keeper.pid)).toBe(true);
    child.kill("SIGTERM");
    const { status, stderr } = await child.end;
    expect(status).toBe(130);
    expect(stderr.match(new RegExp(failure, "gm"))).toHaveLength(1);
    await poll("its end", () => (isRunning(keeper.pid) ? undefined : true));
    expect(root.leftovers()).toEqual([]);
  });

  test("a berthd that is killed while it starts several is missed once", async () => {
    await using root = berthRoot();
    await makeEndlessStart(root);
    cpSync(join(root.machines, "m"), join(root.machines, "n"), { recursive: true, verbatimSymlinks: true });
    root.settings("n", "[Exec]\nNotifyReady=yes\n[Files]\nBindReadOnly=/usr");
    await using child = root.start("start", "m", "n");
    for (const name of ["m", "n"]) await root.recordWhen(name);
    process.kill(root.daemonPid() ?? 0, "SIGKILL");
    const { status, stderr } = await child.end;
    expect(status).toBe(1);
    const said = "berth: berthd has gone: it is not known what came of m, n\nhint: berth daemon status\n";
    expect(stderr.slice(stderr.indexOf("berth: berthd has"))).toBe(said);
    expect((await root.berth("terminate", "m", "n")).status).toBe(0);
  });

  test("a berthd that is killed is missed", async () => {
    await using root = berthRoot();
    await using child = await starting(root);
    const pid = root.daemonPid();
    process.kill(pid ?? 0, "SIGKILL");
    const { status, stderr } = await child.end;
    expect({ status, stderr }).toMatchObject({ status: 1, stderr: expect.stringMatching(/^berth: berthd has gone$/m) });
    // It runs, and the next one takes it over.
    const { stdout, stderr: alone } = await root.berth("list");
    expect(stdout).toMatch(/^m .* starting /m);
    expect(alone).toMatch(/^berth: berthd does not run: nobody looks after its machines$/m);
    expect((await root.berth("daemon", "start")).status).toBe(0);
    expect((await root.berth("terminate", "m")).status).toBe(0);
  });
});

describe("on a terminal", () => {
  const INIT = `#!/bin/sh
echo "what fails"
printf '[  \\033[0;32mOK\\033[0m  ] Started \\033[0;1mthe first unit\\033[0m.\\r\\n'
until [ -e /1 ]; do sleep 0.05; done
echo "Starting the second unit..."
until [ -e /2 ]; do sleep 0.05; done
`;

  /** Returns what lets it go on. */
  async function makeBoot(root: BerthRoot, end: string): Promise<(step: 1 | 2) => void> {
    await makeEndlessStart(root);
    writeFileSync(join(root.machines, "m/sbin/init"), `${INIT}${end}\n`, { mode: 0o755 });
    return (step) => writeFileSync(join(root.machines, "m", `${step}`), "");
  }

  test("what the boot is at is shown beside a spinner, and what it said last when it fails", async () => {
    await using root = berthRoot();
    const goOn = await makeBoot(root, "exit 3");
    await using terminal = openTerminal();
    const { end } = terminal.spawn([BERTH, "start", "m"], root.env);
    await terminal.until(/booting .*Started the first unit\./);
    goOn(1);
    await terminal.until(/booting .*Starting the second unit/);
    goOn(2);
    expect((await end).status).toBe(1);
    expect(terminal.output).toContain(
      [
        "berth: machine m: its PID 1 exited with status 3",
        "berth: console: what fails",
        "berth: console: [  OK  ] Started the first unit.",
        "berth: console: Starting the second unit...",
        "",
      ].join("\r\n"),
    );
    expect(terminal.output).toContain("\x1b[?25h"); // the cursor is shown again
  });

  test("NO_COLOR is heeded", async () => {
    await using root = berthRoot();
    const goOn = await makeBoot(root, "exit 3");
    goOn(1);
    goOn(2);
    await using terminal = openTerminal();
    const { end } = terminal.spawn([BERTH, "start", "m"], { ...root.env, NO_COLOR: "1" });
    expect((await end).status).toBe(1);
    expect(terminal.output).not.toContain("\x1b");
  });
});
