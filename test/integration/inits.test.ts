/** Machines with another init than systemd: found out by what it is, asked in its own way. Real ones: inits.long.test.ts. */
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth, poll, type Running } from "../lib/berth.ts";
import { initTree } from "../lib/inits.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "tool:mmdebstrap");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const console = "--console=read-only";

/** Machine `m` with busybox as init, in this root. */
async function busybox(root: BerthRoot): Promise<string> {
  return initTree("busybox", join(root.machines, "m"));
}

async function boot(root: BerthRoot, ...options: string[]): Promise<Running> {
  const child = root.start("run", "-M", "m", "-b", console, ...options);
  await child.until(/^up/m);
  await root.recordWhen("m");
  return child;
}

describe("busybox", () => {
  test("boots, reboots and powers off on its own signals", async () => {
    await using root = berthRoot();
    await busybox(root);
    expect((await root.berth("start", "m")).status).toBe(0);
    const first = root.record("m");
    expect(first).toMatchObject({ init: "busybox", ready: true, state: "running" });
    expect((await root.berth("status", "m")).stdout).toMatch(/^ {2}Init +busybox, PID \d+ on the host$/m);
    expect((await root.berth("list")).stdout).toMatch(/^m +container +berth +running +debian +12 +- +busybox +\d+/m);
    expect((await root.berth("plan", "m")).stdout).toMatch(/ execute \/sbin\/init \(init: busybox\)/);

    expect(await root.berth("reboot", "m")).toMatchObject({ status: 0, stderr: "" });
    const second = await root.recordWhen("m", ({ leader }) => leader.startTime !== first?.leader.startTime);
    expect(second.supervisor).toEqual(first?.supervisor);

    expect(await root.berth("poweroff", "m")).toMatchObject({ status: 0, stderr: "" });
    expect(root.leftovers()).toEqual([]);
  });

  test.each([["pick"], ["no"]])("in the foreground, PrivateUsers=%s: SIGTERM is its own signal", async (users) => {
    await using root = berthRoot();
    await busybox(root);
    root.settings("m", `[Exec]\nPrivateUsers=${users}`);
    await using child = await boot(root);
    child.kill();
    const { status, stdout, stderr } = await child.end;
    expect(status).toBe(0);
    expect(stdout).toMatch(/shutting down[\s\S]*Requesting system poweroff/);
    expect(stderr).toContain("berth: stopping machine m (once more: kill it)\n");
  });

  test("that is told to stop while its boot scripts run does so after them", async () => {
    await using root = berthRoot();
    const tree = await busybox(root);
    writeFileSync(join(tree, "etc/init.d/rcS"), "#!/bin/sh\necho booting; busybox sleep 1; echo booted\n");
    await using child = root.start("run", "-M", "m", "-b", console);
    await child.until(/^booting/m);
    child.kill();
    const { status, stdout } = await child.end;
    expect(status).toBe(0);
    expect(stdout).toMatch(/booted[\s\S]*Requesting system poweroff/);
  });

  test("poweroff and reboot typed inside end and restart it", async () => {
    await using root = berthRoot();
    await busybox(root);
    await using child = await boot(root);
    const first = await root.recordWhen("m");
    // An init that is told kills all it can see, the one that told it as well, if that has not ended yet.
    const told = expect.toBeOneOf([0, 143, 137]);
    expect((await root.berth("exec", "m", "--", "/bin/busybox", "reboot")).status).toEqual(told);
    await root.recordWhen("m", ({ leader }) => leader.startTime !== first.leader.startTime);
    expect((await root.berth("exec", "m", "--", "/bin/busybox", "poweroff")).status).toEqual(told);
    expect((await child.end).status).toBe(0);
  });

  test("KillSignal=, --kill-signal: says what stops it, whatever its init is", async () => {
    await using root = berthRoot();
    await busybox(root);
    await using child = await boot(root, "--kill-signal=SIGUSR1");
    expect(await root.berth("poweroff", "m")).toMatchObject({ status: 0, stderr: "" });
    const { status, stdout } = await child.end;
    expect(status).toBe(0);
    expect(stdout).toContain("Requesting system halt");
  });
});

/** An init in a script that passes for sysvinit's: as PID 1 it is one, otherwise it tells it, as telinit does. */
async function likeSysvinit(root: BerthRoot, tell: string): Promise<void> {
  const tree = await busybox(root);
  const lines = [
    "#!/bin/sh",
    "# INIT_VERSION=sysvinit",
    `if [ $$ != 1 ]; then ${tell}; fi`,
    "trap 'echo stopping; exit 0' USR1",
    "echo up",
    "while :; do busybox sleep 0.1; done",
  ];
  rmSync(join(tree, "sbin/init"));
  writeFileSync(join(tree, "sbin/init"), `${lines.join("\n")}\n`);
  chmodSync(join(tree, "sbin/init"), 0o755);
}

describe("an init that is told by its own program", () => {
  test("is, from outside and in the foreground, with the runlevel that is meant", async () => {
    await using root = berthRoot();
    await likeSysvinit(root, '[ "$*" = 0 ] && kill -USR1 1; exit');
    for (const stop of [() => root.berth("poweroff", "m"), async () => {}]) {
      await using child = await boot(root);
      expect(root.record("m")).toMatchObject({ init: "sysvinit", killSignal: null });
      await stop();
      if (root.record("m") !== null) child.kill();
      const { status, stdout } = await child.end;
      expect(status).toBe(0);
      expect(stdout).toContain("stopping");
    }
  });

  test("that fails: poweroff says what it said, SIGTERM kills the machine with that reason", async () => {
    await using root = berthRoot();
    await likeSysvinit(root, "echo no such luck >&2; exit 7");
    await using child = await boot(root);
    for (const verb of ["poweroff", "reboot"]) {
      const { status, stderr } = await root.berth(verb, "m");
      expect(status).toBe(1);
      expect(stderr).toMatch(
        /^berth: machine m can't be asked: \/sbin\/init [06] in it failed with status 7: no such luck\nhint: berth terminate m/,
      );
    }
    child.kill();
    const { status, stderr } = await child.end;
    expect(status).toBe(137);
    expect(stderr).toContain("killing machine m: /sbin/init 0 in it failed with status 7: no such luck");
  });

  test("KillSignal=: is sent instead", async () => {
    await using root = berthRoot();
    await likeSysvinit(root, "exit 7");
    root.settings("m", "[Exec]\nKillSignal=SIGUSR1");
    await using child = await boot(root);
    expect(await root.berth("poweroff", "m")).toMatchObject({ status: 0, stderr: "" });
    expect(await child.end).toMatchObject({ status: 0, stdout: expect.stringContaining("stopping") });
  });
});

test("poweroff kills a machine that is deaf to it when --timeout is over, says so and fails", async () => {
  await using root = berthRoot();
  await likeSysvinit(root, "exit 0");
  await using child = await boot(root);
  const { status, stderr } = await root.berth("poweroff", "m", "--timeout=0.5");
  expect([status, stderr]).toEqual([
    1,
    expect.stringMatching(/^berth: machine m did not end within 0\.5 s, and was killed\n/),
  ]);
  expect(root.leftovers()).toEqual([]);
  expect((await child.end).status).toBe(137);
});

test("poweroff kills a machine whose init can't be told in time, and says that", async () => {
  await using root = berthRoot();
  await likeSysvinit(root, "while :; do busybox sleep 1; done");
  await using child = await boot(root);
  const { status, stderr } = await root.berth("poweroff", "m", "--timeout=1");
  expect([status, stderr]).toEqual([
    1,
    expect.stringMatching(/^berth: machine m did not end within 1 s, and was killed\nhint: --timeout=SECONDS/),
  ]);
  expect(root.leftovers()).toEqual([]);
  expect((await child.end).status).toBe(137);
});

describe("an init that can't be", () => {
  const faults: Readonly<Record<string, readonly [(path: string) => void, number, RegExp]>> = {
    "a directory": [
      (path) => mkdirSync(path),
      125,
      /has no init to boot: \/sbin\/init is no regular file, but a directory/,
    ],
    "not executable": [
      (path) => writeFileSync(path, "#!/bin/sh\n", { mode: 0o644 }),
      125,
      /\/sbin\/init is not executable/,
    ],
    "a link to nothing": [
      (path) => symlinkSync("/usr/lib/gone", path),
      125,
      /leads to \/usr\/lib\/gone, which is not there/,
    ],
    "built for another machine": [
      (path) => writeFileSync(path, otherElf(), { mode: 0o755 }),
      125,
      /\/sbin\/init of \S+ is built for (aarch64|x86-64), expected a tree for this host's/,
    ],
    "a script whose interpreter is missing": [
      (path) => writeFileSync(path, "#!/no/such/shell\n", { mode: 0o755 }),
      127,
      /execve \/sbin\/init: ENOENT[\s\S]*\nhint: the program, its interpreter \(#!\) or its loader is missing/,
    ],
    "a text without an interpreter": [
      (path) => writeFileSync(path, "exit 0\n", { mode: 0o755 }),
      126,
      /execve \/sbin\/init: ENOEXEC[\s\S]*\nhint: the file is neither a program/,
    ],
  };

  test.each(Object.entries(faults))("%s: neither run nor start leaves anything", async (_, [make, status, said]) => {
    await using root = berthRoot();
    const path = join(await busybox(root), "sbin/init");
    rmSync(path);
    make(path);
    const run = await root.berth("run", "-M", "m", "-b", console);
    expect(run).toMatchObject({ status, stdout: "", stderr: expect.stringMatching(said) });
    expect(await root.berth("start", "m")).toMatchObject({ status: 1, stderr: expect.stringMatching(said) });
    expect(root.leftovers()).toEqual([]);
  });

  /** The head of a program for the machine that this host is not. */
  function otherElf(): Buffer {
    const elf = Buffer.alloc(64);
    elf.write("\x7fELF\x02\x01\x01", "latin1");
    elf.writeUInt16LE(process.arch === "x64" ? 183 : 62, 18);
    return elf;
  }

  test("kept up: exits at once, or later; start says how, and what was on the console", async () => {
    await using root = berthRoot();
    const path = join(await busybox(root), "sbin/init");
    rmSync(path);
    writeFileSync(path, "#!/bin/sh\necho no root file system\nexit 7\n", { mode: 0o755 });
    const { status, stderr } = await root.berth("start", "m");
    expect(status).toBe(1);
    expect(stderr).toMatch(/^berth: machine m: its PID 1 exited with status 7\nberth: console: no root file system\n/m);
    expect(root.leftovers()).toEqual([]);
    const run = await root.berth("run", "-M", "m", "-b", console);
    expect(run).toMatchObject({ status: 7, stdout: "no root file system\r\n" });
  });

  test("kept up: reboots at once; it is held back, longer each time, and SIGTERM ends it meanwhile", async () => {
    await using root = berthRoot();
    const path = join(await busybox(root), "sbin/init");
    rmSync(path);
    writeFileSync(path, "#!/bin/sh\nexec busybox reboot -f\n", { mode: 0o755 });
    await using child = root.start("run", "-x", "-M", "m", "-b", console);
    await child.until(/machine m was hardly up: it waits for 1 s\n[\s\S]*it waits for 2 s\n[\s\S]*it waits for 4 s\n/);
    const began = performance.now();
    child.kill();
    expect((await child.end).status).toBe(0);
    expect(performance.now() - began).toBeLessThan(3000);
    expect(child.stderr.match(/machine m reboots/g)?.length).toBeGreaterThanOrEqual(18);
    // It has not booted again.
    expect(child.stderr).toMatch(/it waits for [45] s\n$/);
    expect(root.leftovers()).toEqual([]);
  });

  test.each([
    ["terminate", "m"],
    ["poweroff", "m"],
  ])("while it is held back: list shows it, nothing can be done in it, %s ends it", async (...end) => {
    await using root = berthRoot();
    const path = join(await busybox(root), "sbin/init");
    rmSync(path);
    writeFileSync(path, "#!/bin/sh\nexec busybox reboot -f\n", { mode: 0o755 });
    await using child = root.start("run", "-M", "m", "-b", "--console=passive");
    await child.until(/it waits for 4 s\n/);
    // It boots meanwhile, and is asked again then.
    const patience = { timeout: 20_000 };
    await expect
      .poll(async () => JSON.parse((await root.berth("list", "--json")).stdout), patience)
      .toMatchObject([{ name: "m", state: "starting", ready: false, leader: null }]);
    for (const words of [
      ["exec", "m", "true"],
      ["status", "m"],
      ["reboot", "m"],
    ])
      await expect
        .poll(async () => (await root.berth(...words)).stderr, patience)
        .toMatch(/^berth: machine m is between two boots\nhint: .*terminate m/);
    expect((await root.berth("start", "m")).stderr).toMatch(/^berth: machine m is running already/);
    // A boot that was ended while it begins has another status.
    const pauses = (): number => child.stderr.split("it waits for").length;
    const before = pauses();
    await poll("the next pause", () => pauses() > before || undefined);
    expect(await root.berth(...end)).toMatchObject({ status: 0, stderr: "" });
    expect((await child.end).status).toBe(0);
    expect((await root.berth("list", "--json")).stdout).toBe("[]\n");
    expect(root.leftovers()).toEqual([]);
  });
});
