import { posix } from "node:path";
import { namespaceFlags } from "../stage/namespace-flags.ts";
import {
  AF_INET,
  AT_FDCWD,
  CLONE_FILES,
  CLONE_NEWNS,
  IFF_UP,
  KEYCTL_JOIN_SESSION_KEYRING,
  LINUX_CAPABILITY_VERSION_3,
  MOVE_MOUNT_F_EMPTY_PATH,
  MS_REC,
  MS_SHARED,
  O_CLOEXEC,
  O_NOCTTY,
  O_NONBLOCK,
  O_RDWR,
  PR_CAPBSET_DROP,
  PR_SET_PDEATHSIG,
  RESOLVE_NO_SYMLINKS,
  SECCOMP_SET_MODE_FILTER,
  SIOCSIFFLAGS,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  TIOCGPTPEER,
  TIOCSCTTY,
  TIOCSPTLCK,
  TIOCSWINSZ,
  WALL,
} from "../sys/constants.ts";
import { type Compilers, LIKE_VFORK } from "./compilation.ts";
import { capabilityData, setLimits } from "./compile-keeper.ts";
import { u32, windowSize, wordsOf } from "./structs.ts";

const SIGKILL = 9;
const SIGCHLD = 17;
const LAST_FD = 0xffffffff;
const CLOSE_RANGE_CLOEXEC = 4;
/** The pid of the short-lived apivfs child: far from 2, so that the payload's first child is pid 2 as in any boot. */
const APIVFS_PID = 32000;

type ApivfsKinds = "make-file-system" | "make-overlay";

export const APIVFS: Compilers<ApivfsKinds> = {
  /** By the keeper, too: what init has no rights to make. */
  "make-file-system": ({ fd, type, options, flags }, c, { phase }) => {
    const program = phase === "keeper" ? c.keeper : c.apivfs;
    const mount = c.makeFileSystem(program, type, options, flags);
    c.asm.pseudo(program, "result", [mount], { into: c.named(fd) });
  },

  /**
   * The layers must be attached in the mount namespace of who mounts the overlay, and that must be the machine's root:
   * then everything written lands on disk with ids from 0. A tmpfs of its own is the place; all of it is gone with
   * this child, but for the overlay, which holds on to its layers itself.
   */
  "make-overlay": ({ fd, lower, upper, limits, attributes }, c) => {
    const { asm, apivfs } = c;
    const place = c.makeFileSystem(apivfs, "tmpfs", ["mode=700", ...limits], []);
    asm.call(apivfs, "move_mount", [place, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH]);
    const names = lower.map((_, index) => `${index}`);
    for (const [name, layer] of [...lower.map((fd, index) => [`${index}`, fd] as const), ["upper", upper] as const]) {
      asm.call(apivfs, "mkdirat", [place, name, 0o700]);
      if (layer !== null) asm.call(apivfs, "move_mount", [c.fd(layer), "", place, name, MOVE_MOUNT_F_EMPTY_PATH]);
    }
    // The host has divided a layer on disk itself. data is the overlay's root directory, and shows its mode inside.
    if (upper === null)
      for (const part of ["upper/data", "upper/work"]) asm.call(apivfs, "mkdirat", [place, part, 0o755]);
    asm.call(apivfs, "fchdir", [place]);
    const options = [`lowerdir=${names.join(":")}`, "index=off", "upperdir=upper/data", "workdir=upper/work"];
    if (attributes === "user") options.push("userxattr");
    const mount = c.makeFileSystem(apivfs, "overlay", options, ["nodev"]);
    asm.pseudo(apivfs, "result", [mount], { into: c.named(fd) });
  },
};

type InitKinds =
  | "open-terminal"
  | "become-root"
  | "start-session"
  | "unshare"
  | "loopback-up"
  | "make-api-file-systems"
  | "lock-mounts"
  | "mount-own-tmpfs"
  | "set-hostname"
  | "join-keyring"
  | "stdio"
  | "set-limits"
  | "set-umask"
  | "drop-bounding-set"
  | "set-capabilities"
  | "load-seccomp"
  | "execute";

export const INIT: Compilers<InitKinds> = {
  "open-terminal": ({ size, alone = false }, c) => {
    const { asm, init } = c;
    const terminal = c.named("terminal");
    const ptmx = c.how(O_RDWR | O_NOCTTY | O_NONBLOCK, RESOLVE_NO_SYMLINKS);
    asm.call(init, "openat2", [AT_FDCWD, "/dev/pts/ptmx", ptmx, 24], { into: terminal });
    asm.call(init, "ioctl", [terminal, TIOCSPTLCK, asm.reserve(8)]);
    if (size !== null) asm.call(init, "ioctl", [terminal, TIOCSWINSZ, asm.bytes(windowSize(size))]);
    if (alone) return;
    const side = asm.register();
    asm.call(init, "ioctl", [terminal, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC], { into: side });
    asm.call(init, "ioctl", [side, TIOCSCTTY, 0]);
    for (const target of [0, 1, 2]) asm.call(init, "dup3", [side, target, 0]);
  },

  "become-root": ({ foreground }, c) => {
    const { asm, init } = c;
    asm.call(init, "setresgid", [0, 0, 0]);
    asm.call(init, "setgroups", [0, 0]);
    asm.call(init, "setresuid", [0, 0, 0]);
    // After the last change of credentials, which clears it.
    if (foreground) asm.call(init, "prctl", [PR_SET_PDEATHSIG, SIGKILL]);
  },

  /** Not before others can go on: the kernel makes a scheduling group for it (sched_autogroup). */
  "start-session": (_, c) => {
    c.asm.call(c.init, "setsid", []);
  },

  /** Those that would show the keeper if clone made them: as the root of the cgroups, as the owner of /dev/mqueue. */
  unshare: ({ namespaces }, c) => {
    c.asm.call(c.init, "unshare", [namespaceFlags(namespaces)]);
  },

  "loopback-up": (_, c) => {
    const { asm, init } = c;
    const socket = asm.register();
    const request = Buffer.alloc(40); // struct ifreq: name, then the flags
    request.write("lo");
    request.writeInt16LE(IFF_UP, 16);
    asm.call(init, "socket", [AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0], { into: socket });
    asm.call(init, "ioctl", [socket, SIOCSIFFLAGS, asm.bytes(request)]);
    asm.call(init, "close", [socket]);
  },

  "make-api-file-systems": (_, c) => {
    const { asm, init } = c;
    // As vfork: it leaves the fds in init's registers, and init goes on while the kernel takes its mount namespace apart.
    const cloneArguments = asm.words([LIKE_VFORK | CLONE_FILES | CLONE_NEWNS, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0]);
    asm.poke(cloneArguments, 64, asm.bytes(u32([APIVFS_PID])));
    asm.poke(cloneArguments, 72, 1);
    // The fd table is shared from here on, and growing a shared one waits for an RCU grace period: grow it before.
    asm.call(init, "dup3", [c.host.initEnd, c.lastSlot, O_CLOEXEC]);
    asm.pseudo(init, "spawn", [cloneArguments, 88, c.apivfs], { into: c.apivfsPid, accept: [1, 0x7fffffff] });
  },

  /**
   * A mount namespace of the machine's own, copied from one that the host's user namespace owns: the kernel locks
   * every mount in it (mount_namespaces(7)), so root inside can neither unmount the masks nor make them writable.
   */
  "lock-mounts": (_, c) => {
    const status = c.asm.reserve(8);
    c.asm.call(c.init, "wait4", [c.apivfsPid, status, WALL, 0], { accept: [1, 0x7fffffff] });
    c.asm.pseudo(c.init, "load", [status], { accept: [0, 0] });
    c.asm.call(c.init, "unshare", [CLONE_NEWNS]);
    // Shared among themselves, as an init that finds itself in a container expects.
    c.asm.call(c.init, "mount", [0, "/", 0, MS_REC | MS_SHARED, 0]);
  },

  /** Not among the locked mounts: an init may unmount it when it shuts down. */
  "mount-own-tmpfs": ({ target, mode, flags, options }, c) => {
    const mount = c.makeFileSystem(c.init, "tmpfs", [`mode=${mode.toString(8)}`, ...options], flags);
    c.asm.call(c.init, "move_mount", [mount, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH]);
    c.asm.call(c.init, "close", [mount]);
  },

  "set-hostname": ({ hostname }, c) => {
    c.asm.call(c.init, "sethostname", [hostname, Buffer.byteLength(hostname)]);
  },

  "join-keyring": (_, c) => {
    c.asm.call(c.init, "keyctl", [KEYCTL_JOIN_SESSION_KEYRING, 0]);
  },

  stdio: ({ from }, c) => {
    const { asm, init } = c;
    if (from === "caller") {
      for (const target of [0, 1, 2]) asm.call(init, "dup3", [c.fd(`stdio:${target}`), target, 0]);
      return;
    }
    const console = asm.register();
    // Without O_NOCTTY: a session leader without one gets it as its controlling terminal.
    asm.call(init, "openat", [AT_FDCWD, "/dev/console", O_RDWR | O_CLOEXEC], { into: console });
    for (const target of [0, 1, 2]) asm.call(init, "dup3", [console, target, 0]);
  },

  "set-limits": ({ limits }, c) => {
    setLimits(c, c.init, limits);
  },

  "set-umask": ({ mask }, c) => {
    c.asm.call(c.init, "umask", [mask]);
  },

  "drop-bounding-set": ({ keep, last }, c) => {
    for (let capability = 0; capability <= last; capability++)
      if (!keep.includes(capability)) c.asm.call(c.init, "prctl", [PR_CAPBSET_DROP, capability]);
  },

  "load-seccomp": (_, c) => {
    const { asm, init, filter } = c;
    // struct sock_fprog: u16 count, padding, pointer
    const program = asm.bytes(wordsOf([filter.length / 8, 0]));
    asm.poke(program, 8, asm.bytes(filter));
    asm.call(init, "seccomp", [SECCOMP_SET_MODE_FILTER, 0, program]);
  },

  "set-capabilities": ({ mask }, c) => {
    const header = c.asm.bytes(u32([LINUX_CAPABILITY_VERSION_3, 0]));
    c.asm.call(c.init, "capset", [header, c.asm.bytes(capabilityData(mask))]);
  },

  /** The candidates are what a shell would try along PATH; the last one has to work. */
  execute: ({ candidates, argv, environment, directory }, c) => {
    const { asm, init } = c;
    if (directory !== null) asm.call(init, "chdir", [directory]);
    asm.call(init, "close_range", [3, LAST_FD, CLOSE_RANGE_CLOEXEC]);
    const [given, variables] = [asm.stringArray(argv), asm.stringArray(environment)];
    candidates.forEach((path, index) => {
      // The leading hyphen makes it a login shell, and the name behind it one with all that it can.
      const args = argv.length > 0 ? given : asm.stringArray([`-${posix.basename(path)}`]);
      // As execvp(3): one that can't be executed does not end the search.
      const more = index < candidates.length - 1;
      asm.call(init, "execve", [path, args, variables], { lenient: more });
    });
  },
};
