/**
 * Boot of a Debian tree to its default target, and its clean shutdown, by several managers in turn on copies of one
 * tree. Booted: a unit after default.target has written to a fifo in the tree, so nothing polls. Shut down: when it has come to
 * rest, from SIGRTMIN+3 to PID 1 until the manager has exited.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { removeCgroup } from "../../src/exec/cgroup.ts";
import { Launch } from "../../src/exec/launch.ts";
import { loadFilter } from "../../src/exec/seccomp-filter.ts";
import { INSTALLATION, stagePath } from "../../src/host/installation.ts";
import { findPaths } from "../../src/host/paths.ts";
import { prepare } from "../../src/machine/prepare.ts";
import type { SeccompPolicy } from "../../src/plan/seccomp-policy.ts";
import { watchNotifications } from "../../src/supervise/notify.ts";
import { cgroup2Mount } from "../lib/requires.ts";
import { BERTH, type Contestant, installed, options, report, roundRobin, type Sample, workDirectory } from "./lib.ts";
import { copyOfDebian, makeFloor, NSPAWN, PROTECTED, UNPROTECTED, writeLxcConfig } from "./peers.ts";

const INIT = "/lib/systemd/systemd";
const SIGRTMIN_PLUS_3 = 37;
const PATIENCE_MS = 60_000;
/** After its default target. */
const SETTLED_MS = 500;

/** Path of this process's cgroup below the mount. */
const ownCgroup = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1] ?? "/";
const given = options(11);
const work = workDirectory();
const tree = await copyOfDebian(join(work, "tree"));
addMark(tree);
const floor = makeFloor(work);
const lxc = join(work, "lxc");
writeLxcConfig(join(lxc, "bench"), tree, [
  "lxc.mount.entry = cgroup2 sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec 0 0",
  `lxc.init.cmd = ${INIT}`,
]);
const paths = findPaths(process.env, INSTALLATION, work);
const prepared = prepare(
  { name: "bench", directory: tree, options: [], command: [], boot: true, console: undefined },
  paths,
  INSTALLATION,
);

const managers = [
  {
    name: "berth run",
    tool: BERTH,
    note: "all protections on",
    argv: [BERTH, "run", "-q", "-b", "-D", tree],
    env: { BERTH_ROOT: work },
  },
  {
    name: "floor in C",
    tool: floor.program,
    note: PROTECTED,
    argv: [floor.program, ...floor.protectedBy(await planNow()), tree, INIT],
  },
  { name: "floor in C, unprotected", tool: floor.program, note: UNPROTECTED, argv: [floor.program, tree, INIT] },
  {
    name: "nspawn",
    tool: "systemd-nspawn",
    note: "network namespace, seccomp, no user namespace",
    argv: [...NSPAWN, "--console=pipe", "-b", "-D", tree],
  },
  {
    name: "nspawn -U",
    tool: "systemd-nspawn",
    note: "user and network namespace, seccomp",
    argv: [...NSPAWN, "--private-users=pick", "--console=pipe", "-b", "-D", tree],
  },
  {
    name: "nspawn, no seccomp",
    tool: "systemd-nspawn",
    note: "network namespace",
    argv: [...NSPAWN, "--console=pipe", "-b", "-D", tree],
    env: { SYSTEMD_SECCOMP: "0" },
  },
  {
    name: "lxc-start",
    tool: "lxc-start",
    note: "network namespace, no user namespace, no seccomp, no AppArmor",
    argv: ["lxc-start", "-F", "-P", lxc, "-n", "bench"],
  },
];
const contestants: Contestant[] = [
  { name: "berth", note: "all protections on; launched in one process", run: () => bootAndStop(launch) },
  ...installed(managers).map(({ name, note, argv, env }) => ({
    name,
    note,
    run: () => bootAndStop(async () => start(argv, env)),
  })),
];
const results = await roundRobin(contestants, given.rounds, 1);
const against = ["floor in C", "nspawn", "nspawn -U", "lxc-start"];
report({ title: "Boot of Debian 12 to its default target", ratioOf: "boot", against }, results, given);
report({ title: "Its clean shutdown", ratioOf: "shutdown", against }, results, given);

function addMark(tree: string): void {
  execFileSync("mkfifo", ["-m", "666", join(tree, "mark")]);
  const units = join(tree, "etc/systemd/system");
  const unit = [
    "[Unit]",
    "After=default.target",
    "DefaultDependencies=no",
    "[Service]",
    "Type=oneshot",
    "ExecStart=/bin/sh -c 'echo up >/mark'",
  ];
  writeFileSync(join(units, "mark.service"), `${unit.join("\n")}\n`);
  // Whichever of the two the tree's default target is.
  for (const target of ["graphical.target.wants", "multi-user.target.wants"]) {
    mkdirSync(join(units, target), { recursive: true });
    symlinkSync("../mark.service", join(units, target, "mark.service"));
  }
}

async function planNow() {
  return (await prepared.plan({ foreground: false, stdio: "console", term: null })).plan;
}

/** A machine that is being started. */
interface Booting {
  init(): number;
  /** Resolves when its manager has done with it. */
  readonly ended: Promise<void>;
  kill(): void;
}

async function bootAndStop(start: () => Promise<Booting>): Promise<Sample> {
  const up = marked();
  const begin = performance.now();
  const machine = await start();
  try {
    const died = machine.ended.then(() => Promise.reject(new Error("it ended")));
    died.catch(() => undefined);
    await within(PATIENCE_MS, Promise.race([up.seen, died]));
    const booted = performance.now();
    const init = machine.init();
    // Finding it takes longer for some than for others, and a machine that is still starting units takes longer to stop.
    await sleep(SETTLED_MS);
    const asked = performance.now();
    process.kill(init, SIGRTMIN_PLUS_3);
    await within(PATIENCE_MS, machine.ended);
    return { boot: booted - begin, shutdown: performance.now() - asked };
  } catch (error) {
    machine.kill();
    throw new Error(`${(error as Error).message}\n${readFileSync(join(work, "output"), "utf8").slice(-500)}`);
  } finally {
    up.close();
    // Where nspawn put the machine: its next one may have another owner.
    removeCgroup(join(cgroup2Mount() ?? "", ownCgroup, "payload"));
  }
}

function start(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Booting {
  const [program = "", ...args] = argv;
  const output = openSync(join(work, "output"), "w");
  const manager = spawn(program, args, { env: { ...process.env, ...env }, stdio: ["ignore", output, output] });
  closeSync(output);
  const ended = new Promise<void>((resolve) => manager.once("exit", () => resolve()));
  return { init: () => findInit(manager), ended, kill: () => manager.kill("SIGKILL") };
}

async function launch(): Promise<Booting> {
  const { arch } = prepared.host;
  const loadFilterOf = (policy: SeccompPolicy) => loadFilter(policy, paths.cache);
  const launch = new Launch(await planNow(), { stage: stagePath(arch), arch, loadFilter: loadFilterOf });
  await launch.run();
  // As whoever supervises a machine does: an init waits where nobody hears it.
  const unwatch = watchNotifications(launch.fds.get("notify-socket"), launch.leaderPid, () => undefined);
  const ended = launch.keeperEnd().then(() => {
    unwatch();
    launch.release();
  });
  return { init: () => launch.leaderPid, ended, kill: () => process.kill(launch.leaderPid, "SIGKILL") };
}

/** Opened for both directions: a reader that is there before the writer, and no end of file. */
function marked(): { seen: Promise<void>; close: () => void } {
  const fd = openSync(join(tree, "mark"), constants.O_RDWR | constants.O_NONBLOCK);
  const reader = new Socket({ fd, readable: true, writable: false });
  const seen = new Promise<void>((resolve) => reader.once("data", () => resolve()));
  return { seen, close: () => reader.destroy() };
}

async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing after ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** PID 1 of the pid namespace below a manager: its last NSpid is 1 (proc_pid_status(5)). */
function findInit(manager: ChildProcess): number {
  const processes = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const status = statusOf(name);
      const field = (key: string) => new RegExp(`^${key}:\\s*(.*)$`, "m").exec(status)?.[1] ?? "";
      return { pid: Number(name), parent: Number(field("PPid")), first: /\s1$/.test(field("NSpid")) };
    });
  const parentOf = new Map(processes.map(({ pid, parent }) => [pid, parent]));
  const below = (pid: number | undefined): boolean =>
    pid !== undefined && pid > 1 && (pid === manager.pid || below(parentOf.get(pid)));
  const init = processes.find(({ pid, first }) => first && below(pid));
  if (init === undefined) throw new Error("its PID 1 is not to be found");
  return init.pid;
}

function statusOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return ""; // it has just ended
  }
}
