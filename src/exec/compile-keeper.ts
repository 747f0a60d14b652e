import type { Namespace } from "../plan/step.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  CLONE_CLEAR_SIGHAND,
  CLONE_INTO_CGROUP,
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
  CLONE_PARENT,
  CLONE_PIDFD,
  LINUX_CAPABILITY_VERSION_3,
  MNT_DETACH,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  MS_REC,
  MS_SLAVE,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_NOCTTY,
  O_NONBLOCK,
  O_RDWR,
  O_WRONLY,
  OPEN_FLAGS,
  PR_SET_NAME,
  RENAME_EXCHANGE,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_SYMLINKS,
  S_IFCHR,
  S_IFREG,
  TIOCGPTPEER,
  TIOCSPTLCK,
} from "../sys/constants.ts";
import type { Register } from "./assembler.ts";
import { type Compilation, type Compilers, EEXIST, ENOENT } from "./compilation.ts";

const NAMESPACES: Readonly<Record<Namespace, number>> = {
  mount: CLONE_NEWNS,
  user: CLONE_NEWUSER,
  pid: CLONE_NEWPID,
  net: CLONE_NEWNET,
  ipc: CLONE_NEWIPC,
  uts: CLONE_NEWUTS,
  cgroup: CLONE_NEWCGROUP,
};
const SIGCHLD = 17;
const LAST_FD = 0xffffffff;
const LOCKED_DOWN = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

type Kinds =
  | "begin-keeper"
  | "unshare-mounts"
  | "move-keeper"
  | "clone-init"
  | "act-as"
  | "attach-root"
  | "mount-tmpfs"
  | "make-directory"
  | "make-node"
  | "make-symlink"
  | "write-file"
  | "set-read-only"
  | "attach"
  | "make-mount-point"
  | "mask"
  | "lock-read-only"
  | "console"
  | "copy-file"
  | "replace-symlink"
  | "delete-file"
  | "enter-root"
  | "leave-root";

export const KEEPER: Compilers<Kinds> = {
  "begin-keeper": (_, c) => {
    closeAllBut(c, [c.host.status, c.host.keeperEnd, c.host.initEnd, ...c.host.named.values()]);
    c.asm.call(c.keeper, "setsid", []);
    c.asm.call(c.keeper, "prctl", [PR_SET_NAME, "berth-keeper"]);
    c.asm.call(c.keeper, "umask", [0]);
  },

  "unshare-mounts": (_, c) => {
    c.asm.call(c.keeper, "openat", [AT_FDCWD, "/proc/self/ns/mnt", O_CLOEXEC], { into: c.hostMounts });
    c.asm.call(c.keeper, "unshare", [CLONE_NEWNS]);
    c.asm.call(c.keeper, "mount", [0, "/", 0, MS_REC | MS_SLAVE, 0]);
  },

  /**
   * Into its cgroup by a clone of itself that has the same parent: writing to cgroup.procs would wait for an RCU grace
   * period, 8 ms in the median.
   */
  "move-keeper": ({ path }, c) => {
    const { asm, keeper } = c;
    const supervisor = asm.register();
    const payload = asm.register();
    const directory = O_CLOEXEC | OPEN_FLAGS[c.arch].O_DIRECTORY;
    asm.call(keeper, "openat", [AT_FDCWD, `${path}/supervisor`, directory], { into: supervisor });
    asm.call(keeper, "openat", [AT_FDCWD, `${path}/payload`, directory], { into: payload });
    const flags = BigInt(CLONE_PARENT | CLONE_PIDFD) | BigInt(CLONE_INTO_CGROUP);
    // No exit signal: with CLONE_PARENT it is the cloning process's own. The pidfd is for the host (sync point below).
    const cloneArguments = asm.words([flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    const pidfd = asm.reserve(8);
    asm.poke(cloneArguments, 8, pidfd);
    asm.pseudo(keeper, "store", [{ at: cloneArguments.at + 80 }, supervisor, 8]);
    asm.pseudo(keeper, "become", [cloneArguments, 88, c.farewell]);
    asm.pseudo(c.farewell, "load", [pidfd], { into: c.named("keeper") });
    asm.call(keeper, "close", [supervisor]);
    asm.pseudo(keeper, "store", [{ at: c.cloneArguments.at + 80 }, payload, 8]);
  },

  "clone-init": ({ namespaces, cgroup }, c) => {
    const { asm, keeper } = c;
    const flags = BigInt(namespaceFlags(namespaces));
    const pidfd = asm.reserve(8);
    const into = cgroup ? BigInt(CLONE_INTO_CGROUP) : 0n;
    asm.poke(c.cloneArguments, 0, flags | BigInt(CLONE_PIDFD) | BigInt(CLONE_CLEAR_SIGHAND) | into);
    asm.poke(c.cloneArguments, 8, pidfd);
    asm.poke(c.cloneArguments, 32, SIGCHLD);
    asm.pseudo(keeper, "spawn", [c.cloneArguments, 88, c.init], { accept: [1, Number.MAX_SAFE_INTEGER], into: c.pid });
    asm.pseudo(keeper, "load", [pidfd], { into: c.leader });
    // Init's end belongs to init alone: its death must show as end of file.
    asm.call(keeper, "close", [c.host.initEnd]);
  },

  /** As the machine's root: what the keeper makes in the root belongs to it. File capabilities go with fsuid 0 and are taken again. */
  "act-as": ({ uid, capabilities }, c) => {
    const { asm, keeper } = c;
    for (const call of ["setfsgid", "setfsuid"] as const) {
      asm.call(keeper, call, [uid], { lenient: true });
      asm.call(keeper, call, [-1], { accept: [uid, uid] });
    }
    const header = asm.bytes(u32([LINUX_CAPABILITY_VERSION_3, 0]));
    asm.call(keeper, "capset", [header, asm.bytes(capabilityData(capabilities))]);
  },

  "attach-root": ({ fd }, c) => {
    // Any directory will do as a place until enter-root; /proc is one that every host has.
    c.asm.call(c.keeper, "move_mount", [c.fd(fd), "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH]);
    c.asm.call(
      c.keeper,
      "openat2",
      [AT_FDCWD, "/proc", c.how(OPEN_FLAGS[c.arch].O_DIRECTORY, RESOLVE_NO_SYMLINKS), 24],
      {
        into: c.root,
      },
    );
  },

  "mount-tmpfs": ({ target, mode, flags, options, remove }, c) => {
    const mount = c.makeFileSystem(c.keeper, "tmpfs", [`mode=${mode.toString(8)}`, ...options], flags);
    const place = c.openTarget(target, "directory", true, remove);
    c.attach(mount, place);
    c.asm.call(c.keeper, "close", [place]);
    c.rememberDirectory(target, mount);
  },

  "make-directory": ({ path, mode }, c) => {
    const { directory, name } = c.parent(path);
    c.asm.call(c.keeper, "mkdirat", [directory, name, mode]);
  },

  "make-node": ({ path, major, minor }, c) => {
    const { directory, name } = c.parent(path);
    c.asm.call(c.keeper, "mknodat", [directory, name, S_IFCHR | 0o666, (major << 8) | minor]);
  },

  "make-symlink": ({ path, target }, c) => {
    const { directory, name } = c.parent(path);
    c.asm.call(c.keeper, "symlinkat", [target, directory, name]);
  },

  "write-file": ({ path, mode, text }, c) => {
    const { directory, name } = c.parent(path);
    writeNewFile(c, directory, name, mode, text);
  },

  /** One of our own mounts, once everything in it is written. */
  "set-read-only": ({ path }, c) => {
    const { asm, keeper } = c;
    const { directory } = c.parent(`${path}/.`);
    asm.call(keeper, "mount_setattr", [directory, "", AT_EMPTY_PATH, asm.words([MOUNT_ATTR_RDONLY, 0, 0, 0]), 32]);
  },

  attach: ({ fd, target, create, api, remove }, c) => {
    const place = c.openTarget(target, create, api, remove);
    c.attach(c.fd(fd), place);
    c.asm.call(c.keeper, "close", [place]);
  },

  "make-mount-point": ({ path, remove }, c) => {
    c.asm.call(c.keeper, "close", [c.openTarget(path, "directory", false, remove)]);
  },

  /** Nothing to see and nothing to open; a path that this kernel does not have needs no mask. */
  mask: ({ path, over }, c) => {
    const { asm, keeper } = c;
    const place = asm.register();
    c.openInRoot(path, place, { api: true, tolerate: ENOENT });
    const source = c.parent(`/run/host/inaccessible/${over === "directory" ? "dir" : "reg"}`);
    const mount = c.cloneMount(keeper, source.directory, source.name, LOCKED_DOWN, place);
    asm.call(keeper, "move_mount", [mount, "", place, "", EMPTY_PATHS], { onlyIf: place });
    for (const fd of [mount, place]) asm.call(keeper, "close", [fd], { onlyIf: place });
  },

  /** `except` is a directory below that stays writable: it is opened before it is covered. */
  "lock-read-only": ({ path, except }, c) => {
    const { asm, keeper } = c;
    const place = asm.register();
    c.openInRoot(path, place, { api: true, tolerate: ENOENT });
    const mount = c.cloneMount(keeper, place, "", LOCKED_DOWN, place);
    const writable = except === null ? undefined : c.cloneMount(keeper, place, except, 0, place);
    asm.call(keeper, "move_mount", [mount, "", place, "", EMPTY_PATHS], { onlyIf: place });
    if (writable !== undefined)
      asm.call(keeper, "move_mount", [writable, "", mount, except ?? "", MOVE_MOUNT_F_EMPTY_PATH], { onlyIf: place });
    for (const fd of [mount, place]) asm.call(keeper, "close", [fd], { onlyIf: place });
    if (writable !== undefined) asm.call(keeper, "close", [writable], { onlyIf: place });
  },

  /** The machine's own devpts holds its console; only fds are used, so nothing in the tree can stand in for it. */
  console: ({ owner }, c) => {
    const { asm, keeper } = c;
    const how = c.how(O_RDWR | O_NOCTTY | O_NONBLOCK, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
    asm.call(keeper, "openat2", [c.root, "/dev/pts/ptmx", how, 24], { into: c.master });
    asm.call(keeper, "ioctl", [c.master, TIOCSPTLCK, asm.reserve(8)]);
    asm.call(keeper, "ioctl", [c.master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC], { into: c.slave });
    const TTY_GROUP = 5;
    asm.call(keeper, "fchown", [c.slave, owner, owner + TTY_GROUP]);
    const mount = c.cloneMount(keeper, c.slave, "", 0);
    const place = c.openTarget("/dev/console", "file", true, false);
    c.attach(mount, place);
    for (const used of [mount, place]) asm.call(keeper, "close", [used]);
  },

  "copy-file": ({ target, text, replace }, c) => {
    exchange(c, target, replace ? "anything" : "regular file", (directory, temporary, onlyIf) =>
      writeNewFile(c, directory, temporary, 0o644, text, onlyIf),
    );
  },

  "replace-symlink": ({ path, target }, c) => {
    exchange(c, path, "anything", (directory, temporary) => {
      c.asm.call(c.keeper, "symlinkat", [target, directory, temporary]);
    });
  },

  "delete-file": ({ path }, c) => {
    const { asm, keeper } = c;
    const { directory, name, temporary } = insideTree(c, path);
    const moved = asm.register();
    asm.call(keeper, "renameat2", [directory, name, directory, temporary, 0], { into: moved, tolerate: ENOENT });
    asm.call(c.commit, "unlinkat", [directory, temporary, 0], { onlyIf: moved });
    c.cleanUp((program, when) => {
      if (when === "undo")
        asm.call(program, "renameat2", [directory, temporary, directory, name, 0], { onlyIf: moved });
    });
  },

  "enter-root": (_, c) => {
    c.asm.call(c.keeper, "fchdir", [c.root]);
    c.asm.call(c.keeper, "pivot_root", [".", "."]);
    c.asm.call(c.keeper, "umount2", [".", MNT_DETACH]);
  },

  /** Back to the host's mounts: the assembled ones then belong to init alone. */
  "leave-root": (_, c) => {
    for (const call of ["setfsuid", "setfsgid"] as const) c.asm.call(c.keeper, call, [0], { lenient: true });
    c.asm.call(c.keeper, "setns", [c.hostMounts, CLONE_NEWNS]);
  },
};

export function namespaceFlags(namespaces: readonly Namespace[]): number {
  return namespaces.reduce((bits, namespace) => bits | NAMESPACES[namespace], 0);
}

const EMPTY_PATHS = 0x44; // MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH

/** close_range(2) over every gap between the fds that stay. */
function closeAllBut(c: Compilation, keep: readonly number[]): void {
  let next = 3;
  for (const fd of [...new Set(keep)].sort((a, b) => a - b)) {
    if (fd > next) c.asm.call(c.keeper, "close_range", [next, fd - 1, 0]);
    next = Math.max(next, fd + 1);
  }
  c.asm.call(c.keeper, "close_range", [next, LAST_FD, 0]);
}

function writeNewFile(
  c: Compilation,
  directory: Register,
  name: string,
  mode: number,
  text: string,
  onlyIf?: Register,
): void {
  const { asm, keeper } = c;
  const guard = onlyIf === undefined ? {} : { onlyIf };
  const file = asm.register();
  const flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | OPEN_FLAGS[c.arch].O_NOFOLLOW;
  asm.call(keeper, "openat", [directory, name, flags, mode], { into: file, ...guard });
  const bytes = Buffer.from(text);
  if (bytes.length > 0)
    asm.call(keeper, "write", [file, asm.bytes(bytes), bytes.length], {
      accept: [bytes.length, bytes.length],
      ...guard,
    });
  asm.call(keeper, "close", [file], guard);
}

/** The directory of a file in the tree (symbolic links inside the tree are followed, in the root), and a name beside it. */
function insideTree(c: Compilation, path: string): { directory: Register; name: string; temporary: string } {
  const slash = path.lastIndexOf("/");
  const directory = c.asm.register();
  c.openInRoot(path.slice(0, slash) || "/", directory, { api: false, directory: true });
  const name = path.slice(slash + 1);
  const temporary = `.berth-${name}`;
  c.asm.call(c.keeper, "unlinkat", [directory, temporary, 0], { tolerate: ENOENT });
  return { directory, name, temporary };
}

/**
 * Puts a new file in the place of an old one so that it can be undone: both change names at once, the old one is
 * removed when the machine runs and gets its name back when it does not.
 */
function exchange(
  c: Compilation,
  path: string,
  over: "anything" | "regular file",
  write: (directory: Register, temporary: string, onlyIf: Register | undefined) => void,
): void {
  const { asm, keeper } = c;
  const { directory, name, temporary } = insideTree(c, path);
  const made = asm.register();
  const exchanged = asm.register();
  asm.call(keeper, "mknodat", [directory, name, S_IFREG | 0o644, 0], { into: made, tolerate: EEXIST });
  let onlyIf: Register | undefined;
  if (over === "regular file") {
    onlyIf = asm.register();
    const flags = O_RDWR | O_NONBLOCK | O_CLOEXEC | OPEN_FLAGS[c.arch].O_NOFOLLOW;
    asm.call(keeper, "openat", [directory, name, flags], { into: onlyIf, lenient: true });
  }
  write(directory, temporary, onlyIf);
  asm.call(keeper, "renameat2", [directory, temporary, directory, name, RENAME_EXCHANGE], {
    into: exchanged,
    ...(onlyIf === undefined ? {} : { onlyIf }),
  });
  asm.call(c.commit, "unlinkat", [directory, temporary, 0]);
  c.cleanUp((program, when) => {
    if (when === "end") return;
    asm.call(program, "renameat2", [directory, temporary, directory, name, RENAME_EXCHANGE], { onlyIf: exchanged });
    asm.call(program, "unlinkat", [directory, temporary, 0], { onlyIf: directory });
    asm.call(program, "unlinkat", [directory, name, 0], { onlyIf: made });
  });
}

/** struct __user_cap_data_struct[2]: effective and permitted = mask, inheritable empty. `mask` is hex. */
export function capabilityData(mask: string): Buffer {
  const bits = BigInt(`0x${mask}`);
  const [low, high] = [Number(bits & 0xffffffffn), Number(bits >> 32n)];
  return u32([low, low, 0, high, high, 0]);
}

export function u32(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => {
    bytes.writeUInt32LE(value >>> 0, index * 4);
  });
  return bytes;
}
