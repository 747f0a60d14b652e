import { RLIMIT_NAMES } from "../plan/facts.ts";
import type { FdName, Limit } from "../plan/step.ts";
import type { CallOptions, Pointer, Program, Register } from "../stage/assembler.ts";
import { namespaceFlags } from "../stage/namespace-flags.ts";
import { WHOLE } from "../stage/stage-abi.ts";
import {
  AT_FDCWD,
  CLONE_CLEAR_SIGHAND,
  CLONE_FILES,
  CLONE_INTO_CGROUP,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_PARENT,
  CLONE_PIDFD,
  LINUX_CAPABILITY_VERSION_3,
  MNT_DETACH,
  MS_REC,
  MS_SLAVE,
  O_CLOEXEC,
  OPEN_FLAGS,
  PR_SET_DUMPABLE,
  WALL,
} from "../sys/constants.ts";
import { type Compilation, type Compilers, LIKE_VFORK } from "./compilation.ts";
import { u32 } from "./structs.ts";

const SIGCHLD = 17;
const EPERM = 1;
const A_PID = [1, 0x7fffffff] as const;
/** The fields of struct clone_args behind the pidfd. The signal at exit is the porter's own, with CLONE_PARENT. */
const NO_MORE: readonly number[] = Array(9).fill(0);
/** How init is cloned. */
const ALWAYS = BigInt(CLONE_PIDFD) | BigInt(CLONE_CLEAR_SIGHAND);
const RLIM_INFINITY = 0xffffffffffffffffn;

type Kinds =
  | "begin-keeper"
  | "raise-limits"
  | "unshare-mounts"
  | "move-keeper"
  | "join-network"
  | "clone-init"
  | "take-whole"
  | "clone-inside"
  | "act-as"
  | "enter-root"
  | "leave-root";

/** The keeper itself: its place, the clone of init, and its way into the root and back. */
export const KEEPER: Compilers<Kinds> = {
  "begin-keeper": (_, c) => {
    c.asm.call(c.keeper, "setsid", []);
    c.asm.call(c.keeper, "umask", [0]);
  },

  /** Berth's own user namespace may be another machine's: there the capability is none to the kernel, and they stay. */
  "raise-limits": ({ limits }, c) => {
    setLimits(c, c.keeper, limits, { tolerate: EPERM });
  },

  "unshare-mounts": (_, c) => {
    c.asm.call(c.keeper, "openat", [AT_FDCWD, "/proc/self/ns/mnt", O_CLOEXEC], { into: c.hostMounts });
    c.asm.call(c.keeper, "unshare", [CLONE_NEWNS]);
    c.asm.call(c.keeper, "mount", [0, "/", 0, MS_REC | MS_SLAVE, 0]);
    // A mount point can't be removed by who is in the namespace where something is mounted on it.
    c.asm.call(c.undo, "setns", [c.hostMounts, CLONE_NEWNS], { onlyIf: c.hostMounts });
  },

  /**
   * Into its cgroup by a clone of itself that has the same parent: writing to cgroup.procs would wait for an RCU grace
   * period, 8 ms in the median.
   */
  "move-keeper": ({ path }, c) => {
    const { asm, keeper } = c;
    const supervisor = asm.register();
    const directory = O_CLOEXEC | OPEN_FLAGS[c.arch].O_DIRECTORY;
    asm.call(keeper, "openat", [AT_FDCWD, `${path}/supervisor`, directory], { into: supervisor });
    asm.call(keeper, "openat", [AT_FDCWD, `${path}/payload`, directory], { into: c.named("payload") });
    const flags = BigInt(CLONE_PARENT | CLONE_PIDFD) | BigInt(CLONE_INTO_CGROUP);
    // No exit signal: with CLONE_PARENT it is the cloning process's own. The pidfd is for the host (sync point below).
    const cloneArguments = asm.words([flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    const pidfd = asm.reserve(8);
    asm.poke(cloneArguments, 8, pidfd);
    asm.pseudo(keeper, "store", [{ at: cloneArguments.at + 80 }, supervisor, 8]);
    asm.pseudo(keeper, "become", [cloneArguments, 88, c.farewell]);
    asm.pseudo(c.farewell, "load", [pidfd], { into: c.named("keeper") });
    asm.call(keeper, "close", [supervisor]);
  },

  "join-network": ({ fd }, c) => {
    c.asm.call(c.keeper, "setns", [c.fd(fd), CLONE_NEWNET]);
  },

  "clone-init": ({ namespaces, ahead, cgroup }, c) => {
    const { asm, porter } = c;
    const flags = ALWAYS | BigInt(namespaceFlags(namespaces.filter((namespace) => !ahead.includes(namespace))));
    const pidfd = asm.reserve(8);
    if (ahead.length > 0) {
      // The user namespace comes first: it gives the right to enter the others.
      for (const namespace of ahead)
        asm.call(porter, "setns", [c.fd(`${namespace}-namespace`), namespaceFlags([namespace])]);
      sendPorter(c, cgroup, asm.words([flags | BigInt(CLONE_PARENT), pidfd, ...NO_MORE]));
    } else spawnIn(c, cgroup, flags, pidfd, c.init, c.pid);
    adoptInit(c, pidfd);
  },

  "take-whole": (_, c, { phase }) => {
    if (!c.host.named.has(WHOLE)) return; // it was given whole
    c.asm.pseudo(phase === "keeper" ? c.keeper : c.init, "turn", []);
  },

  /** All namespaces by the machine's pidfd. That of its processes is entered by who is cloned there, and nobody who is in it sees the porter. */
  "clone-inside": ({ namespaces, cgroup }, c) => {
    const { asm, porter } = c;
    // Nobody inside may look into what is cloned before it has become the payload. The keeper has the same memory, and nothing to show either.
    asm.call(porter, "prctl", [PR_SET_DUMPABLE, 0]);
    asm.call(porter, "setns", [c.fd("machine"), namespaceFlags(namespaces)]);
    const pidfd = asm.reserve(8);
    sendPorter(c, cgroup, asm.words([ALWAYS | BigInt(CLONE_PARENT), pidfd, ...NO_MORE]));
    adoptInit(c, pidfd);
  },

  /** As the machine's root: what the keeper makes in the root belongs to it. File capabilities go with fsuid 0 and are taken again. */
  "act-as": ({ uid, capabilities }, c) => {
    const { asm, keeper, undo } = c;
    const header = asm.bytes(u32([LINUX_CAPABILITY_VERSION_3, 0]));
    const data = asm.bytes(capabilityData(capabilities));
    for (const call of ["setfsgid", "setfsuid"] as const) {
      asm.call(keeper, call, [uid], { lenient: true });
      asm.call(keeper, call, [-1], { accept: [uid, uid] });
      // Again, if it was the host's root once more: nobody else's files may be made or renamed in a tree with mapped ids.
      asm.call(undo, call, [uid], { onlyIf: c.root });
    }
    asm.call(keeper, "capset", [header, data]);
    asm.call(undo, "capset", [header, data], { onlyIf: c.root });
  },

  "enter-root": (_, c) => {
    c.asm.call(c.keeper, "fchdir", [c.root]);
    c.asm.call(c.keeper, "pivot_root", [".", "."]);
    c.asm.call(c.keeper, "umount2", [".", MNT_DETACH]);
  },

  /**
   * Back to the host's mounts, once the payload has been executed: the last one to leave the assembled ones waits until
   * the kernel has taken them apart, and that should not be init when it copies them.
   */
  "leave-root": (_, c) => {
    for (const call of ["setfsuid", "setfsgid"] as const) c.asm.call(c.commit, call, [0], { lenient: true });
    c.asm.call(c.commit, "setns", [c.hostMounts, CLONE_NEWNS]);
  },
};

/** `cgroup`: one that the host opened, or that move-keeper did. */
function spawnIn(
  c: Compilation,
  cgroup: FdName,
  flags: bigint,
  pidfd: Pointer | 0,
  program: Program,
  pid: Register,
): void {
  const { asm, keeper } = c;
  const cloneArguments = asm.words([flags | BigInt(CLONE_INTO_CGROUP), pidfd, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0]);
  asm.pseudo(keeper, "store", [{ at: cloneArguments.at + 80 }, c.fd(cgroup), 8]);
  asm.pseudo(keeper, "spawn", [cloneArguments, 88, program], { accept: A_PID, into: pid });
}

/**
 * Who enters a user namespace does not come back from it, so the keeper has somebody enter who clones init as the keeper's
 * child, into the cgroup that it is in itself. As vfork: init's pid and pidfd are the keeper's when it goes on.
 */
function sendPorter(c: Compilation, cgroup: FdName, init: Pointer): void {
  const { asm, keeper, porter } = c;
  const pid = asm.register();
  asm.pseudo(porter, "spawn", [init, 88, c.init], { accept: A_PID, into: c.pid });
  // What it stays when the porter is killed: that is no errno.
  asm.pseudo(keeper, "result", [0], { into: c.pid });
  spawnIn(c, cgroup, BigInt(LIKE_VFORK | CLONE_FILES), 0, porter, pid);
  asm.call(keeper, "wait4", [pid, 0, WALL, 0], { accept: A_PID });
  asm.pseudo(keeper, "result", [c.pid], { accept: A_PID });
}

function adoptInit({ asm, keeper, leader, host }: Compilation, pidfd: Pointer): void {
  asm.pseudo(keeper, "load", [pidfd], { into: leader });
  // Init's end belongs to init alone: its death must show as end of file.
  asm.call(keeper, "close", [host.initEnd]);
}

export function setLimits(c: Compilation, program: Program, limits: readonly Limit[], options: CallOptions = {}): void {
  for (const { name, soft, hard } of limits) {
    const limit = c.asm.words([soft ?? RLIM_INFINITY, hard ?? RLIM_INFINITY]);
    c.asm.call(program, "prlimit64", [0, RLIMIT_NAMES.indexOf(name), limit, 0], options);
  }
}

/** Masks as hex. */
export interface CapabilitySets {
  readonly effective: string;
  readonly permitted: string;
  readonly inheritable: string;
}

/** struct __user_cap_data_struct[2]. A mask alone is effective and permitted, and inheritable is nothing. */
export function capabilityData(sets: string | CapabilitySets): Buffer {
  const { effective, permitted, inheritable } =
    typeof sets === "string" ? { effective: sets, permitted: sets, inheritable: "0" } : sets;
  const masks = [effective, permitted, inheritable].map((mask) => BigInt(`0x${mask}`));
  return u32([...masks.map((bits) => Number(bits & 0xffffffffn)), ...masks.map((bits) => Number(bits >> 32n))]);
}
