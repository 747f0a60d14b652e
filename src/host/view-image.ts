import { Assembler, type Image, type Pointer, Program, type Register } from "../stage/assembler.ts";
import { namespaceFlags } from "../stage/namespace-flags.ts";
import { FIRST_FD, HEADER_WORDS, KEPT_FDS } from "../stage/stage-abi.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  CLONE_PIDFD,
  MNT_DETACH,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  MS_PRIVATE,
  MS_REC,
  O_CLOEXEC,
  O_PATH,
  PR_SET_NO_NEW_PRIVS,
  PR_SET_PDEATHSIG,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_SYMLINKS,
} from "../sys/constants.ts";

const SIGKILL = 9;
const SIGCHLD = 17;
const ELOOP = 40;
const LAST_FD = 0xffffffff;
const CLOSE_RANGE_CLOEXEC = 4;
const A_PID = [1, 0x7fffffff] as const;
/** What init says to its keeper; what the stage says itself there is shorter. */
const WORD = 8;

/** All but user namespaces: root has to give files to every owner. */
const NAMESPACES = namespaceFlags(["mount", "pid", "ipc", "uts", "net"]);

/** Where the host's directory /mnt is, and in the root that is put there the place for what was there before. */
const PLACE = "/mnt";
export const OLD = "old";

/** What is handed to the stage, in this order behind the image: the pair of keeper and init, and the view's fds. */
const [KEEPER_END, INIT_END, FIRST] = [FIRST_FD + 1, FIRST_FD + 2, FIRST_FD + 3];

/** What a program sees. */
export interface View {
  /** A detached file system with all the places that are needed, OLD too: the root directory, where it can't be written to. */
  readonly root: number;
  /** Detached mounts, and which path in the root each gets: no link on the way is followed, and what has one is left out. */
  readonly mounts: readonly ViewMount[];
  /** The working directory. */
  readonly directory: string;
}

export interface ViewProgram extends View {
  /** Fds that become 0, 1 and 2. */
  readonly stdio: readonly [number, number, number];
  readonly argv: readonly string[];
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
  asm.call(init, "prctl", [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]);
  asm.call(init, "mount", [0, "/", 0, MS_REC | MS_PRIVATE, 0]);
  enterRoot(asm, init, view.mounts);
  asm.call(init, "chdir", [view.directory]);
  for (const target of [0, 1, 2]) asm.call(init, "dup3", [FIRST + target, target, 0]);
  asm.call(init, "umask", [0o022]);
  asm.call(init, "prctl", [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0]);
  asm.call(init, "close_range", [3, LAST_FD, CLOSE_RANGE_CLOEXEC]);
  // Who had died before init was to die with it reads nothing any more.
  asm.call(init, "write", [INIT_END, word, WORD], { accept: [WORD, WORD] });
  const env = Object.entries(view.env).map(([name, value]) => `${name}=${value}`);
  asm.call(init, "execve", [view.argv[0] ?? "", asm.stringArray(view.argv), asm.stringArray(env)]);

  const image = asm.finish({
    ...{ keeper, init, commit: nothing, undo: nothing, end: nothing },
    ...{ foreground: true, alarm: INIT_END, free: KEEPER_END, whole: -1, carried: 0, logLimit: 0 },
    given: KEPT_FDS.map(() => -1),
    numbers: [pid, leader, none, none, none, none].map(({ register }) => register),
  });
  return { image, programs: [keeper, init] };
}

function enterRoot(asm: Assembler, init: Program, mounts: readonly ViewMount[]): void {
  const root = FIRST + 3;
  asm.call(init, "move_mount", [root, "", AT_FDCWD, PLACE, MOVE_MOUNT_F_EMPTY_PATH]);
  const how = asm.words([O_PATH | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS]);
  for (const [index, { at }] of mounts.entries()) attach(asm, init, root + 1 + index, [root, at, how]);
  asm.call(init, "mount_setattr", [root, "", AT_EMPTY_PATH, asm.words([MOUNT_ATTR_RDONLY, 0, 0, 0]), 32]);
  asm.call(init, "fchdir", [root]);
  asm.call(init, "pivot_root", [".", OLD]);
  asm.call(init, "umount2", [`/${OLD}`, MNT_DETACH]);
}

function attach(asm: Assembler, init: Program, mount: number, [root, at, how]: [number, string, Pointer]): void {
  const place: Register = asm.register();
  const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
  asm.call(init, "openat2", [root, at, how, 24], { into: place, tolerate: ELOOP });
  asm.call(init, "move_mount", [mount, "", place, "", flags], { onlyIf: place });
}
