import { CAPABILITIES, type CapabilityName } from "../spec/capabilities.ts";
import { Assembler, type Image, Program } from "../stage/assembler.ts";
import { namespaceFlags } from "../stage/namespace-flags.ts";
import { FIRST_FD, HEADER_WORDS, KEPT_FDS } from "../stage/stage-abi.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  CLONE_PIDFD,
  LINUX_CAPABILITY_VERSION_3,
  MNT_DETACH,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  MS_PRIVATE,
  MS_REC,
  O_CLOEXEC,
  O_PATH,
  PR_CAPBSET_DROP,
  PR_SET_NO_NEW_PRIVS,
  PR_SET_PDEATHSIG,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_SYMLINKS,
  RLIMIT_DATA,
} from "../sys/constants.ts";

const SIGKILL = 9;
const SIGCHLD = 17;
const EPERM = 1;
const EINVAL = 22;
const NOBODY = 65534;
const ELOOP = 40;
const LAST_FD = 0xffffffff;
const CLOSE_RANGE_CLOEXEC = 4;
const A_PID = [1, 0x7fffffff] as const;
/** What init says to its keeper; what the stage says itself there is shorter. */
const WORD = 8;

/** All but user namespaces: root has to give files to every owner. */
const NAMESPACES = namespaceFlags(["mount", "pid", "ipc", "uts", "net"]);

/** A directory that every host has, and no link or server's: the root is put there before it becomes that. */
const PLACE = "/dev";

/** What is handed to the stage, in this order behind the image: the pair of keeper and init, and the view's fds. */
const [KEEPER_END, INIT_END, STDIO] = [FIRST_FD + 1, FIRST_FD + 2, FIRST_FD + 3];
const ROOT = STDIO + 3;

/** What a program sees. */
export interface View {
  /** A detached file system with all the places that are needed: the root directory, where it can't be written to. */
  readonly root: number;
  /** Detached mounts, and which path in the root each gets: no link on the way is followed, and what has one is left out. */
  readonly mounts: readonly ViewMount[];
  /** The working directory: a path in the root. */
  readonly directory: string;
}

export interface Rights {
  readonly capabilities: readonly CapabilityName[];
  /** It is nobody, and not root. */
  readonly nobody?: boolean;
  /** Bytes that it may have of memory of its own; default: as much as this process. */
  readonly memory?: number;
}

export interface ViewProgram extends View {
  /** Fds that become 0, 1 and 2. */
  readonly stdio: readonly [number, number, number];
  /** Path in the view, and what it is called with. */
  readonly program: string;
  readonly argv: readonly string[];
  /** What it may do; default: all that this process may. */
  readonly rights?: Rights;
  readonly env: Readonly<Record<string, string>>;
}

export interface ViewMount {
  readonly fd: number;
  readonly at: string;
}

/** The fds of a view in the order in which the program knows them. */
export function fdsOf({ stdio, root, mounts }: ViewProgram): readonly number[] {
  return [...stdio, root, ...mounts.map(({ fd }) => fd)];
}

/**
 * The stage's program for a view. Its keeper clones the init of a pid namespace, which takes the host away and becomes the
 * program; then it is there until that has ended, and kills it when berth is gone.
 */
export function compileView(view: ViewProgram, arch: "x64" | "arm64"): { image: Image; programs: readonly Program[] } {
  const asm = new Assembler(arch, HEADER_WORDS * 8);
  const [keeper, init, nothing] = [new Program(0), new Program(1), new Program(2, true, true)];
  const [pid, leader, none] = [asm.register(), asm.register(), asm.register()];

  // ^C at the terminal reaches only berth, which decides.
  asm.call(keeper, "setsid", []);
  const pidfd = asm.reserve(8);
  const cloneArguments = asm.words([NAMESPACES | CLONE_PIDFD, pidfd, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0]);
  asm.pseudo(keeper, "spawn", [cloneArguments, 88, init], { accept: A_PID, into: pid });
  asm.pseudo(keeper, "load", [pidfd], { into: leader });
  asm.call(keeper, "close", [INIT_END]);
  const word = asm.reserve(WORD);
  asm.call(keeper, "read", [KEEPER_END, word, WORD], { accept: [WORD, WORD] });
  asm.call(keeper, "read", [KEEPER_END, word, WORD], { accept: [0, 0] });

  asm.call(init, "close", [KEEPER_END]);
  asm.call(init, "mount", [0, "/", 0, MS_REC | MS_PRIVATE, 0]);
  enterRoot(asm, init, view);
  asm.call(init, "chdir", [view.directory]);
  for (const target of [0, 1, 2]) asm.call(init, "dup3", [STDIO + target, target, 0]);
  asm.call(init, "umask", [0o022]);
  asm.call(init, "prctl", [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0]);
  if (view.rights !== undefined) keepRights(asm, init, view.rights);
  asm.call(init, "prctl", [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]); // a change of users would take it away
  asm.call(init, "close_range", [3, LAST_FD, CLOSE_RANGE_CLOEXEC]);
  // Who had died before init was to die with it reads nothing any more.
  asm.call(init, "write", [INIT_END, word, WORD], { accept: [WORD, WORD] });
  const argv = asm.stringArray(view.argv);
  const env = asm.stringArray(Object.entries(view.env).map(([name, value]) => `${name}=${value}`));
  asm.call(init, "execve", [view.program, argv, env]);

  const image = asm.finish({
    ...{ keeper, init, commit: nothing, undo: nothing, end: nothing },
    ...{ foreground: true, alarm: INIT_END, free: KEEPER_END, whole: -1, carried: 0, logLimit: 0 },
    given: KEPT_FDS.map(() => -1),
    numbers: [pid, leader, none, none, none, none].map(({ register }) => register),
  });
  return { image, programs: [keeper, init] };
}

function enterRoot(asm: Assembler, init: Program, { mounts }: View): void {
  asm.call(init, "move_mount", [ROOT, "", AT_FDCWD, PLACE, MOVE_MOUNT_F_EMPTY_PATH]);
  const how = asm.words([O_PATH | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS]);
  for (const [index, { at }] of mounts.entries()) {
    const place = asm.register();
    const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    asm.call(init, "openat2", [ROOT, at, how, 24], { into: place, tolerate: ELOOP });
    asm.call(init, "move_mount", [ROOT + 1 + index, "", place, "", flags], { onlyIf: place });
  }
  asm.call(init, "mount_setattr", [ROOT, "", AT_EMPTY_PATH, asm.words([MOUNT_ATTR_RDONLY, 0, 0, 0]), 32]);
  asm.call(init, "fchdir", [ROOT]);
  asm.call(init, "pivot_root", [".", "."]);
  asm.call(init, "umount2", [".", MNT_DETACH]);
}

/** A program that root executes gets what is in the bounding set, and without new privileges no more than this one has: capabilities(7). */
function keepRights(asm: Assembler, init: Program, { capabilities: names, nobody = false, memory }: Rights): void {
  // Who may not raise what this process has left of it has less than that.
  if (memory !== undefined)
    asm.call(init, "prlimit64", [0, RLIMIT_DATA, asm.words([memory, memory]), 0], { tolerate: EPERM });
  let mask = 0n;
  for (const [number, name] of CAPABILITIES.entries())
    if (names.includes(name)) mask |= 1n << BigInt(number);
    else asm.call(init, "prctl", [PR_CAPBSET_DROP, number, 0, 0, 0], { tolerate: EINVAL }); // an older kernel has fewer
  if (nobody) {
    asm.call(init, "setgroups", [0, 0]);
    for (const call of ["setresgid", "setresuid"] as const) asm.call(init, call, [NOBODY, NOBODY, NOBODY]);
  }
  const [low, high] = [mask & 0xffffffffn, mask >> 32n];
  // struct __user_cap_header_struct and two of __user_cap_data_struct: effective, permitted, and nothing that is inheritable.
  const sets = asm.words([low | (low << 32n), high << 32n, high]);
  asm.call(init, "capset", [asm.words([LINUX_CAPABILITY_VERSION_3]), sets]);
}
