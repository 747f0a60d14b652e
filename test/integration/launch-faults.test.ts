import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { setCredential } from "../../src/config/credentials.ts";
import { BerthError } from "../../src/errors.ts";
import { type Launch, LaunchError } from "../../src/exec/launch.ts";
import { lockFile, unlinkLocked } from "../../src/exec/lock-file.ts";
import { StageSession } from "../../src/exec/stage-session.ts";
import { isAlive, processId } from "../../src/host/process-id.ts";
import { ledgerPath } from "../../src/host/ranges.ts";
import { sweep } from "../../src/machine/sweep.ts";
import { cgroupPath } from "../../src/plan/cgroup.ts";
import { describe as describeStep } from "../../src/plan/describe.ts";
import { buildJoin, type JoinTarget } from "../../src/plan/join.ts";
import { buildBind } from "../../src/plan/live-mounts.ts";
import type { LaunchPlan, StepKind } from "../../src/plan/step.ts";
import { showSource } from "../../src/spec/source.ts";
import { SysError } from "../../src/sys/errno.ts";
import { openNull } from "../../src/sys/files.ts";
import { bind, check } from "../../src/sys/libc.ts";
import { pidfdSendSignal } from "../../src/sys/processes.ts";
import { syscallNumber } from "../../src/sys/syscall-numbers.ts";
import { childrenOf, poll } from "../lib/berth.ts";
import { type HostUser, hostUser } from "../lib/host-user.ts";
import { launchKilledAt } from "../lib/kept-machine.ts";
import { ended, launchOf, type MachineOptions, says, type TestMachine, testMachine } from "../lib/launch.ts";
import { leaksSince, type Snapshot, snapshot } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";
import { settled } from "../lib/settled.ts";
import { debianTree } from "../lib/trees.ts";

/**
 * A launch that fails, wherever it does, leaves nothing: not on the host, not in the tree. Each test compares for itself,
 * with what belongs to its machine: there are some hundred comparisons here, and other work on the host goes on.
 */
const ready = needs("root", "userns", "cgroup2", "cc", "tool:mmdebstrap", "tool:useradd");

const EIO = 5;
let directory = "";
let tree = "";
/** Of the host. */
/** Not by pid: those of a namespace come again, and a run that was killed leaves its user. */
const USER = `berth-faults-${Date.now() % 1e9}`;
let user: HostUser | undefined;

beforeAll(async () => {
  if (!ready) return;
  directory = mkdtempSync(join(tmpdir(), "faults-"));
  chmodSync(directory, 0o755);
  tree = join(directory, "tree");
  spawnSync("cp", ["-a", "--reflink=auto", await debianTree("bookworm"), tree]);
  // Mount points that every launch has to make, and to remove again.
  for (const name of ["proc", "sys"]) rmdirSync(join(tree, name));
  writeFileSync(join(tree, "etc/resolv.conf"), "# the tree's own\n");
  // The tree itself, by a link: a root that PivotRoot= can have without another tree.
  symlinkSync("/", join(tree, "opt/deployed"));
  mkdirSync(join(directory, "source/below"), { recursive: true });
  writeFileSync(join(directory, "source.conf"), "bound\n");
  mkdirSync(join(directory, "upper"));
  mkdirSync(join(directory, "home"), { mode: 0o700 });
  user = hostUser(join(directory, "home"), USER);
});
afterAll(() => {
  user?.[Symbol.dispose]();
  if (ready) rmSync(directory, { recursive: true, force: true });
});

/** What a launch could change of a tree: names, types, modes, owners, inodes, links and contents, at the top and in /etc. */
function manifest(root: string): string[] {
  return ["", "etc", "mnt", "srv", "opt"].flatMap((part) =>
    entriesOf(join(root, part), part === "etc" ? 9 : 1).map((path) => `${path.slice(root.length)} ${lineOf(path)}`),
  );
}

function entriesOf(path: string, depth: number): string[] {
  if (depth === 0) return [];
  const entries = readdirSync(path, { withFileTypes: true });
  return entries.flatMap((entry) => {
    const child = join(path, entry.name);
    return entry.isDirectory() ? [child, ...entriesOf(child, depth - 1)] : [child];
  });
}

function lineOf(path: string): string {
  const { mode, uid, gid, ino, size } = lstatSync(path);
  const type = mode & 0o170000;
  const content = type === 0o120000 ? readlinkSync(path) : type === 0o100000 && size < 1e6 ? hash(path) : "";
  return `${mode.toString(8)} ${uid}:${gid} inode ${ino} ${content}`;
}

function hash(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex").slice(0, 12);
}

/** Everything on, with what the two ways to treat the tree's files have of their own. */
function everythingOn(more: string, boot: boolean): MachineOptions {
  const settings = `
[Exec]
Boot=${boot ? "yes" : "no"}
Environment=A=b
Hostname=faults
NotifyReady=yes
Capability=CAP_NET_ADMIN
DropCapability=CAP_NET_RAW
SystemCallFilter=@keyring
${more}

[Files]
Bind=${directory}/source:/new/mount/point
BindReadOnly=${directory}/source.conf:/etc/new/source.conf
Bind=${directory}/source:/srv/owned:idmap
BindReadOnly=+/opt:/mnt/opt:norbind
TemporaryFileSystem=/new/memory:size=1m
TemporaryFileSystem=/srv/owned/below:size=1m
Inaccessible=/usr/lib/os-release
Overlay=${directory}/source:${directory}/upper:/srv/overlay
Overlay=+/usr/share::/usr/share

[Network]
${more.includes("NamespacePath=") ? "" : "Private=yes"}
`;
  const command = boot ? [] : ["sleep", "1000"];
  const credentials = [setCredential("key:secret").credential];
  return { directory, root: tree, name: "faults", settings, command, credentials, host: { timezone: "Europe/Berlin" } };
}

const PLANS = [
  ["replaced files", "ResolvConf=replace-host\nTimezone=symlink"],
  ["removed and copied files", "ResolvConf=delete\nTimezone=copy"],
  ["an overlay", "Ephemeral=yes\nResolvConf=copy-host\nTimezone=copy"],
  [
    "a stub init and a command of a user",
    `Timezone=off\nProcessTwo=yes\nNotifyReady=no\nUser=1\nAmbientCapability=CAP_KILL\nWorkingDirectory=/tmp
NoNewPrivileges=yes\nPersonality=${process.arch === "x64" ? "x86" : "arm64"}\nLimitNOFILE=50\nCPUAffinity=0-63`,
  ],
  [
    "somebody's network and a user of the host",
    `[Network]\nNamespacePath=/proc/self/ns/net\n[Files]\nBindUser=${USER}`,
  ],
  ["the host's users and network", "PrivateUsers=no\nResolvConf=bind-host\nTimezone=bind"],
  ["a root in memory", "ResolvConf=copy-host\nTimezone=copy\n[Files]\nVolatile=yes"],
  ["an overlay in memory", "ResolvConf=copy-host\nTimezone=copy\n[Files]\nVolatile=overlay"],
  ["a directory of the tree for a root", "PivotRoot=/opt/deployed:/sysroot\nTimezone=off"],
  // The last one: the mount points that it has in the tree stay.
  ["a read-only tree", "ResolvConf=bind-host\nTimezone=bind\n[Files]\nReadOnly=yes"],
] as const;

/** So that a tree which keeps them is found as it was. */
function makeMountPoints(): void {
  for (const path of ["proc", "sys", "new/mount/point", "etc/new", "srv/owned", "mnt/opt", "new/memory", "srv/overlay"])
    mkdirSync(join(tree, path), { recursive: true });
  for (const path of ["etc/new/source.conf", "etc/resolv.conf"]) writeFileSync(join(tree, path), "");
}

async function launchError(run: Promise<void>): Promise<LaunchError> {
  try {
    await run;
  } catch (error) {
    if (error instanceof LaunchError) return error;
    throw error;
  }
  throw new Error("the launch did not fail");
}

/** Some 150 launches each, and a busy machine is no failure. */
const PATIENCE_MS = 240_000;

describe.each(PLANS)("a machine with %s", (_, more) => {
  test("leaves nothing, whichever of its steps fails", { timeout: PATIENCE_MS }, async () => {
    const machine = testMachine(everythingOn(more, !more.includes("ProcessTwo=")));
    if (more.includes("ReadOnly=yes")) makeMountPoints();
    await warm(machine);
    const { steps } = machine.plan;
    let before = snapshot({ directories: [directory] });
    let files = manifest(tree);
    const problems: string[] = [];
    for (const [index, step] of steps.entries()) {
      if (isTooLate(machine, index)) continue;
      const problem = (what: string): number => problems.push(`#${index} ${step.phase} ${step.kind}: ${what}`);
      const error = await launchError(machine.launch({ fail: { step: index, result: -EIO } }).run());
      if (error.index !== index) problem(`the error is of step ${error.index}: ${error.message}`);
      for (const part of [`#${index} ${step.phase}`, describeStep(step), "EIO"])
        if (!error.message.includes(part)) problem(`"${error.message}" does not say ${part}`);
      if (step.source.from === "file" && !error.message.endsWith(`[${showSource(step.source)}]`))
        problem(`"${error.message}" does not say where it comes from`);
      const left = await leaksOf(machine, before);
      if (left.length > 0) problem(left.join("\n  "));
      if (left.length > 0) before = snapshot(before);
      const now = manifest(tree);
      if (difference(files, now).length > 0) problem(difference(files, now).join("\n  "));
      files = now;
    }
    expect(problems).toEqual([]);
    expect(steps.length).toBeGreaterThan(100);
  });

  test("is killed when it runs already as the host fails", async () => {
    const machine = testMachine(everythingOn(more, false));
    await warm(machine);
    const before = snapshot({ directories: [directory] });
    const files = manifest(tree);
    const late = machine.plan.steps.map((_step, index) => index).filter((index) => isTooLate(machine, index));
    expect(late).toHaveLength(2);
    for (const index of late) {
      const error = await launchError(machine.launch({ fail: { step: index, result: -EIO } }).run());
      expect(error.index).toBe(index);
      expect(await leaksOf(machine, before)).toEqual([]);
    }
    // What follows the host has been made to follow it.
    const changed = difference(files, manifest(tree)).filter((line) => !FOLLOWS_HOST.test(line));
    expect(changed).toEqual([]);
  });

  /** A step of the host after the last word that the keeper waits for: the machine may run by then. */
  function isTooLate({ plan: { steps } }: TestMachine, index: number): boolean {
    const last = steps.findLastIndex((step) => step.phase === "host" && step.kind === "signal");
    return steps[index]?.phase === "host" && index > last;
  }

  /** A launch that gets as far as the filter has made whatever is made once: caches, and fds of this process. */
  async function warm(machine: TestMachine): Promise<void> {
    const step = machine.plan.steps.findIndex(({ kind }) => kind === "unshare-mounts");
    await launchError(machine.launch({ fail: { step, result: -EIO } }).run());
    rmSync(ledgerPath(machine.paths.machines), { force: true });
  }
});

test("what can't be undone is said after what failed, and stays on record until it is swept", async () => {
  const machine = testMachine(everythingOn("", false));
  const { steps } = machine.plan;
  const step = steps.findIndex(({ kind }) => kind === "unshare-mounts");
  const temporaries = steps.flatMap(({ kind, args }) => (kind === "make-layer" ? [args.directory] : []));
  const launch = machine.launch({ fail: { step, result: -EIO } });
  const perform = launch.loadFilter.bind(launch);
  launch.loadFilter = (policy) => {
    launch.undoBy(() => {
      throw new BerthError("it is stuck");
    });
    return perform(policy);
  };
  const error = await launchError(launch.run());
  expect(error.index).toBe(step);
  expect(error.message).toMatch(/EIO.*; and to undo it failed too, until the next start or --cleanup: it is stuck$/);
  expect(existsSync(join(machine.input.places.record, "leftovers.json"))).toBe(true);
  for (const path of temporaries) mkdirSync(path, { recursive: true, mode: 0o700 });
  expect(temporaries.length).toBeGreaterThan(0);
  const said: string[] = [];
  expect([sweep(machine.paths, (line) => said.push(line)), said]).toEqual([["faults"], []]);
  expect(existsSync(machine.input.places.record)).toBe(false);
  expect(temporaries.filter((path) => existsSync(path))).toEqual([]);
});

/** Lines of a manifest that a machine which has been started may change. */
const FOLLOWS_HOST = / \/etc\/(resolv\.conf|localtime) /;

/** Like expectNoLeaks, but for what other work on this host makes and removes meanwhile. */
function leaksOf(
  machine: TestMachine,
  before: Snapshot,
  isKept: (line: string) => boolean = () => false,
): Promise<string[]> {
  const isOthers = (line: string): boolean =>
    /: (cgroup|unix socket) /.test(line) && !line.includes(machine.input.places.cgroup) && !line.includes(directory);
  return settled(() => leaksSince(before).filter((line) => !isKept(line) && !isOthers(line)));
}

function difference(before: readonly string[], after: readonly string[]): string[] {
  const [old, now] = [new Set(before), new Set(after)];
  return [
    ...after.filter((line) => !old.has(line)).map((line) => `new: ${line}`),
    ...before.filter((line) => !now.has(line)).map((line) => `gone: ${line}`),
  ];
}

/** Where a launch is killed: as soon as it has the fd of that name, or after so many ms. */
const KILLED_AT = ["stage", "name-lock", "directory", "lock:range", "root", "notify", "keeper", "leader"];
const KILLED_LATER = ["user-namespace", "console", 1, 2, 4, 6, 9, 13, 20];

describe("a launch whose process is killed", () => {
  test.each([...KILLED_AT, ...KILLED_LATER])("at %s leaves what is swept, and starts again at once", async (at) => {
    const options = {
      ...everythingOn("Ephemeral=no\nResolvConf=replace-host\nTimezone=symlink", false),
      name: "killed",
    };
    const place = { directories: [directory] };
    const before = snapshot(place);
    const files = manifest(tree);
    // In the foreground, so that a machine that runs by then ends as well.
    await launchKilledAt({ ...options, request: { foreground: true } }, at);
    await until(
      "its processes have gone",
      () => !leaksSince(before).some((line) => line.includes("left: process") && !isOrphan(line)),
    );
    const machine = testMachine(options);
    sweep(machine.paths, console.error);
    const { places } = machine.input;
    const { lock, ledger, ranges, trees } = places;
    const kept = [lock, ledger, `${ledger}.lock`, ranges, trees, dirname(lock)];
    const left = await leaksOf(
      machine,
      before,
      (line) => isOrphan(line) || kept.some((path) => line === `left: file ${path}`),
    );
    expect(left).toEqual([]);
    const changed = difference(files, manifest(tree)).filter((line) => !FOLLOWS_HOST.test(line));
    expect(changed).toEqual([]);

    const again = testMachine({ ...options, command: ["true"] });
    const launch = again.launch();
    await launch.run();
    expect((await ended(again, launch)).record).toMatchObject({ reason: "exited", status: 0 });
  });

  /** Dead, and for PID 1 of this host to wait for. */
  function isOrphan(line: string): boolean {
    return line.includes("(state Z, parent 1)");
  }

  test("of an overlay leaves no layer", async () => {
    const options = { ...everythingOn("Ephemeral=yes", false), name: "killed-layer" };
    await launchKilledAt({ ...options, request: { foreground: true } }, "console");
    const machine = testMachine(options);
    expect(existsSync(machine.input.places.layer)).toBe(true);
    await until("it is swept", () => sweep(machine.paths, console.error).includes("killed-layer"));
    expect(existsSync(machine.input.places.layer)).toBe(false);
  });
});

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await sleep(10);
  }
}

describe("a launch", () => {
  /** The probe's tree and a machine of it in a directory of their own, checked for what is left of them. */
  async function withProbe(
    prepare: (tree: string) => void,
    options: Partial<MachineOptions>,
    act: (machine: TestMachine, own: string) => Promise<void>,
  ): Promise<void> {
    const place = mkdtempSync(join(directory, "probe-"));
    chmodSync(place, 0o755);
    const own = await probeTree({ at: join(place, "tree") });
    prepare(own);
    const machine = testMachine({ directory: place, root: own, command: probe("exit", "0"), ...options });
    const before = snapshot({ directories: [place] });
    const kept = [ledgerPath(machine.paths.machines), machine.paths.run, join(place, "ranges"), join(place, "trees")];
    try {
      await act(machine, own);
      const isKept = (line: string): boolean => kept.some((path) => line.startsWith(`left: file ${path}`));
      expect(await leaksOf(machine, before, isKept)).toEqual([]);
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
  }

  async function expectFailure(machine: TestMachine, kind: StepKind, message: RegExp): Promise<LaunchError> {
    const error = await launchError(machine.launch().run());
    expect(error.message).toMatch(message);
    expect(error.step?.kind).toBe(kind);
    return error;
  }

  const nothing = (): void => {};

  test("of a bind whose source has gone since it was planned names it", async () => {
    const source = mkdtempSync(join(directory, "source-"));
    await withProbe(nothing, { options: [`--bind=${source}:/mnt`] }, async (machine) => {
      rmdirSync(source);
      const error = await expectFailure(machine, "clone-tree", new RegExp(`open_tree ${source}: ENOENT.* \\[--bind=`));
      expect(error.message).toContain(`copy mount ${source} as bind:0`);
    });
  });

  test.each(["proc", "sys", "dev", "run"])("of a tree where /%s is a symbolic link goes nowhere", async (name) => {
    const elsewhere = mkdtempSync(join(directory, "elsewhere-"));
    const prepare = (own: string): void => {
      rmdirSync(join(own, name));
      symlinkSync(`../../${elsewhere.slice(directory.length + 1)}`, join(own, name));
    };
    await withProbe(prepare, {}, async (machine, own) => {
      const kind = ["dev", "run"].includes(name) ? "mount-tmpfs" : "attach";
      const error = await expectFailure(machine, kind, new RegExp(`openat2 /${name}: ELOOP`));
      expect(error.hint).toBe("the path is a symbolic link where none is allowed");
      expect(readdirSync(elsewhere)).toEqual([]);
      expect(lstatSync(join(own, name)).isSymbolicLink()).toBe(true);
    });
  });

  test("of a tree where /proc is a file says so", async () => {
    const prepare = (own: string): void => {
      rmdirSync(join(own, "proc"));
      writeFileSync(join(own, "proc"), "no directory\n");
    };
    await withProbe(prepare, {}, async (machine, own) => {
      const error = await expectFailure(machine, "attach", /attach proc on \/proc .*move_mount: EINVAL/);
      expect(error.hint).toBe("most likely one is a directory and the other a file");
      expect(readFileSync(join(own, "proc"), "utf8")).toBe("no directory\n");
    });
  });

  test("of a read-only tree works, unless something is missing in it", async () => {
    const readOnly = (own: string): void => {
      spawnSync("mount", ["--bind", "-o", "ro", own, own]);
    };
    const unmount = (own: string): void => {
      spawnSync("umount", [own]);
    };
    await withProbe(nothing, {}, async ({ input }, own) => {
      readOnly(own);
      try {
        const machine = testMachine({ directory: join(own, ".."), root: own, command: probe("exit", "5") });
        expect(input.machine.tree.readOnly).toBe(false);
        expect(machine.input.machine.tree.readOnly).toBe(true);
        const launch = machine.launch();
        await launch.run();
        expect((await ended(machine, launch)).record).toMatchObject({ reason: "exited", status: 5 });
      } finally {
        unmount(own);
      }
    });
    await withProbe(
      (own) => rmdirSync(join(own, "proc")),
      {},
      async (machine, own) => {
        readOnly(own);
        try {
          await expectFailure(machine, "attach", /mkdirat proc: EROFS/);
        } finally {
          unmount(own);
        }
      },
    );
  });

  /** e_machine of another world: a 64-bit ELF header for s390x, and nothing else. */
  const FOREIGN = Buffer.concat([
    Buffer.from("7f454c4602020100", "hex"),
    Buffer.alloc(8),
    Buffer.from("0002001600000001", "hex"),
    Buffer.alloc(40),
  ]);

  test.each([
    ["/nowhere", "ENOENT", 127, "the program, its interpreter (#!) or its loader is missing in the tree"],
    ["nowhere", "ENOENT", 127, "the program, its interpreter (#!) or its loader is missing in the tree"],
    ["/x/bad-interpreter", "ENOENT", 127, "the program, its interpreter (#!) or its loader is missing in the tree"],
    [
      "/x/foreign",
      "ENOEXEC",
      126,
      "the file is neither a program for this machine nor a script with an interpreter line",
    ],
    ["/x/text", "ENOEXEC", 126, "the file is neither a program for this machine nor a script with an interpreter line"],
    [
      "/x/empty",
      "ENOEXEC",
      126,
      "the file is neither a program for this machine nor a script with an interpreter line",
    ],
    ["/x/not-executable", "EACCES", 126, "the file is not executable"],
    ["/etc", "EACCES", 126, "the file is not executable"],
    ["/etc/os-release/x", "ENOTDIR", 126, undefined],
    ["/x/loop", "ELOOP", 126, undefined],
  ] as const)("of %s fails with %s and status %i", async (program, errno, status, hint) => {
    const prepare = (own: string): void => {
      mkdirSync(join(own, "x"));
      const file = (name: string, content: string | Buffer, mode = 0o755): void =>
        writeFileSync(join(own, "x", name), content, { mode });
      file("bad-interpreter", "#!/no/such/interpreter\n");
      file("foreign", FOREIGN);
      file("text", "just some text\n");
      file("empty", "");
      file("not-executable", "#!/probe\n", 0o644);
      symlinkSync("loop", join(own, "x/loop"));
    };
    await withProbe(prepare, { command: [program] }, async (machine) => {
      const error = await expectFailure(
        machine,
        "execute",
        new RegExp(`^starting m failed at step .*execve .*${errno}`),
      );
      expect(error.exitStatus).toBe(status);
      expect(error.hint).toBe(hint);
      expect(error.message).toContain(program);
    });
  });

  test("of a name that runs is refused and harms neither", async () => {
    await withProbe(nothing, { command: probe("init", "--term", "--status", "3") }, async (machine) => {
      const launch = machine.launch();
      await launch.run();
      const error = await expectFailure(machine, "lock-name", /machine m is running already/);
      expect(error.hint).toMatch(/berth list/);
      await says(machine, "up");
      process.kill(launch.leaderPid, "SIGTERM");
      const { record, output } = await ended(machine, launch);
      expect(record).toMatchObject({ reason: "exited", status: 3 });
      expect(output).toContain("stopping");
    });
  });

  test("of a range that is in use is refused, and the name is free again", async () => {
    await withProbe(nothing, { options: ["--private-users=900000:65536"] }, async (machine) => {
      const path = join(machine.input.places.ranges, "900000");
      const held = lockFile(path);
      await expectFailure(machine, "claim-range", /ids from 900000 to 965535 are in use/);
      expect(existsSync(machine.input.places.lock)).toBe(false);
      unlinkLocked(path, held ?? -1);
      const launch = machine.launch();
      await launch.run();
      expect((await ended(machine, launch)).record).toMatchObject({ reason: "exited", status: 0 });
    });
  });

  test.each([
    ["keeper", "keeper", /the keeper was killed by SIGKILL/],
    ["keeper", "leader", /the keeper was killed by SIGKILL/],
    ["leader", "leader", /the other side ended|init died/],
    ["keeper", "user-namespace", /the keeper was killed by SIGKILL/],
  ] as const)("says so when its %s is killed as it gets the %s", async (victim, at, message) => {
    await withProbe(nothing, {}, async (machine) => {
      const launch = machine.launch();
      const name = launch.fds.name.bind(launch.fds);
      launch.fds.name = (fdName, fd) => {
        name(fdName, fd);
        if (fdName === at)
          queueMicrotask(() => process.kill(victim === "keeper" ? launch.keeperPid : launch.leaderPid, 9));
      };
      const failed = await launch.run().then(
        () => undefined,
        (error: LaunchError) => error,
      );
      // On a busy host init may be long in dying: for the keeper its end then is that of its last pipe, as if it had
      // been executed, and what the exit record says is what berth says.
      if (failed === undefined && victim === "leader")
        expect((await ended(machine, launch)).record).toMatchObject({ reason: "killed", status: 9 });
      else expect(failed?.message).toMatch(message);
    });
  });

  test("says that init was killed, not what the host found gone with it", async () => {
    await withProbe(nothing, {}, async (machine) => {
      // The keeper learns that init is gone as it goes on in the whole program: it is told of that when init is.
      const { tell } = StageSession.prototype;
      const step = machine.plan.steps.find(({ args }) => "says" in args && args.says === "the program is whole");
      const whole = step?.kind === "signal" ? step.args.sync : undefined;
      let goOn: (() => void) | undefined;
      using _ = vi.spyOn(StageSession.prototype, "tell").mockImplementation(function (this: StageSession, sync) {
        if (sync === whole) goOn = () => tell.call(this, sync);
        else tell.call(this, sync);
      });
      // Who clones init is there for a moment, too.
      const statusOf = (pid: number): string => {
        try {
          return readFileSync(`/proc/${pid}/status`, "utf8");
        } catch {
          return "";
        }
      };
      const hasEnded = (pid: number): true | undefined => /^State:\tZ/m.test(statusOf(pid)) || undefined;
      const launch = machine.launch({
        turn: async () => {
          if (goOn === undefined || !launch.fds.has("keeper")) return;
          const { keeperPid } = launch;
          const init = await poll("init", () =>
            childrenOf(keeperPid).find((pid) => /^NSpid:.*\t1$/m.test(statusOf(pid))),
          );
          process.kill(init, 9);
          await poll("init's end", () => hasEnded(init));
          goOn();
          await poll("the keeper's end", () => hasEnded(keeperPid));
          throw new SysError("open", 2, { path: "/sys/fs/cgroup/gone" });
        },
      });
      await expect(launch.run()).rejects.toThrow(/tell init.*the other side ended/);
    });
  });
});

describe("a launch that is aborted", () => {
  const SIGSTOP = 19;
  const reason = new BerthError("enough");
  const options = (): MachineOptions => ({ ...everythingOn("ResolvConf=replace-host", false), name: "aborted" });

  /** Launches with `act` as soon as the fd of that name is there. */
  function launchWith(machine: TestMachine, at: string, act: (launch: Launch, fd: number) => void): Launch {
    const launch = machine.launch();
    const name = launch.fds.name.bind(launch.fds);
    launch.fds.name = (fdName, fd) => {
      name(fdName, fd);
      if (fdName === at) act(launch, fd);
    };
    return launch;
  }

  async function expectAborted(machine: TestMachine, launch: Launch): Promise<void> {
    const before = snapshot({ directories: [directory] });
    const files = manifest(tree);
    await expect(launch.run()).rejects.toBe(reason);
    const kept = [
      ledgerPath(machine.paths.machines),
      machine.paths.run,
      join(directory, "ranges"),
      join(directory, "trees"),
    ];
    const isKept = (line: string): boolean => kept.some((path) => line.startsWith(`left: file ${path}`));
    expect(await leaksOf(machine, before, isKept)).toEqual([]);
    expect(difference(files, manifest(tree))).toEqual([]);
  }

  test("before it began makes nothing", async () => {
    const machine = testMachine(options());
    const launch = machine.launch();
    launch.abort(reason);
    launch.abort(new BerthError("later"));
    await expectAborted(machine, launch);
    expect(existsSync(machine.input.places.record)).toBe(false);
  });

  test.each(["stage", "name-lock", "root", "keeper", "leader", "user-namespace"])(
    "at %s ends with the reason, and leaves nothing",
    async (at) => {
      const machine = testMachine(options());
      await expectAborted(
        machine,
        launchWith(machine, at, (launch) => launch.abort(reason)),
      );
    },
  );

  // A keeper that is killed while it makes something in the tree can't take it away any more: so not one that has begun.
  test.each(["stage", "leader"])("ends whatever hangs: the %s", async (who) => {
    const machine = testMachine(options());
    const launch = launchWith(machine, who, (each, pidfd) => {
      pidfdSendSignal(pidfd, SIGSTOP);
      setImmediate(() => each.abort(reason));
    });
    await expectAborted(machine, launch);
  });

  test("ends an init that waits to be executed, and nothing that was replaced for it stays", async () => {
    const machine = testMachine(options());
    const [F_SETLEASE, F_WRLCK] = [1024, 1];
    const heard = (): undefined => undefined; // that somebody waits
    process.on("SIGIO", heard);
    let lease: number | undefined;
    // Who opens or executes a file that somebody else has leased waits, for 45 s: fcntl(2).
    const launch = launchWith(machine, "leader", () => {
      lease = openSync(join(tree, "usr/bin/sleep"), "r");
      check(bind("int fcntl(int fd, int command, long argument)")(lease, F_SETLEASE, F_WRLCK), "fcntl F_SETLEASE");
    });
    const end = expectAborted(machine, launch);
    try {
      const execve = ` ${syscallNumber("execve", process.arch === "x64" ? "x64" : "arm64")} `;
      const callOf = (pid: number): string => ` ${readFileSync(`/proc/${pid}/syscall`, "utf8")}`;
      await poll("execve", () =>
        lease !== undefined && callOf(launch.leaderPid).startsWith(execve) ? true : undefined,
      );
      const init = processId(launch.leaderPid);
      launch.abort(reason);
      await poll("its end", () => (isAlive(init) ? undefined : true));
    } finally {
      if (lease !== undefined) closeSync(lease);
      process.off("SIGIO", heard);
    }
    await end;
  });

  test("too late does nothing: the machine runs on", async () => {
    const machine = testMachine({ directory, root: await probeTree(), command: probe("init", "--term") });
    const launch = machine.launch();
    await launch.run();
    launch.abort(reason);
    await says(machine, "up");
    process.kill(launch.leaderPid, "SIGTERM");
    expect((await ended(machine, launch)).record).toMatchObject({ reason: "exited" });
  });
});

describe("entering a machine", () => {
  test.each(["caller", "terminal", "bind"] as const)("leaves nothing, whichever step fails: %s", async (how) => {
    const machine = testMachine({
      directory,
      root: await probeTree(),
      name: "entered",
      command: probe("init", "--term"),
    });
    const launch = machine.launch();
    await launch.run();
    const leader = processId(launch.leaderPid);
    const target = {
      machine: "entered",
      pid: leader.pid,
      startTime: leader.startTime,
      cgroup: join(cgroupPath(machine.input), "payload"),
      plan: machine.plan,
    };
    const list = join(directory, "binds.json");
    const plan = how === "bind" ? bindPlan(target, list) : enter(target, how);
    const fds = (): Map<string, number> =>
      new Map(how === "caller" ? [0, 1, 2].map((number): [string, number] => [`stdio:${number}`, openNull()]) : []);
    await launchError(launchOf(plan, { fds: fds(), fail: { step: plan.steps.length - 1, result: -EIO } }).run());
    const before = snapshot({ directories: [directory] });
    const problems: string[] = [];
    for (const [index, step] of plan.steps.entries()) {
      const error = await launchError(launchOf(plan, { fds: fds(), fail: { step: index, result: -EIO } }).run());
      if (error.index !== index || !error.message.startsWith("entering entered failed at"))
        problems.push(`#${index} ${step.kind}: ${error.message}`);
      const left = await leaksOf(machine, before);
      if (left.length > 0) problems.push(`#${index} ${step.kind}: ${left.join("\n  ")}`);
    }
    expect(problems).toEqual([]);
    expect(isAlive(leader)).toBe(true);
    await says(machine, "up");
    process.kill(leader.pid, "SIGTERM");
    expect((await ended(machine, launch)).record).toMatchObject({ reason: "exited" });
  });
});

function enter(target: JoinTarget, stdio: "caller" | "terminal"): LaunchPlan {
  return buildJoin(target, {
    argv: probe("sleep", "100000"),
    candidates: ["/probe"],
    environment: [],
    directory: "/",
    user: null,
    stdio,
  });
}

function bindPlan(target: JoinTarget, list: string): LaunchPlan {
  return buildBind(target, {
    source: "/etc/os-release",
    type: "file",
    target: "/tmp/bound",
    readOnly: true,
    create: true,
    mapping: null,
    list,
  });
}
