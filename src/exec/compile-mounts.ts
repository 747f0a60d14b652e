import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  O_CLOEXEC,
  O_NOCTTY,
  O_NONBLOCK,
  O_RDWR,
  OPEN_FLAGS,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_SYMLINKS,
  S_IFCHR,
  TIOCGPTPEER,
  TIOCSPTLCK,
  TIOCSWINSZ,
} from "../sys/constants.ts";
import { type Compilers, ENOENT, windowSize } from "./compilation.ts";
import { writeNewFile } from "./compile-files.ts";

const LOCKED_DOWN = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
const EMPTY_PATHS = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;

type Kinds =
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
  | "console";

/** The machine's root, put together by the keeper. */
export const MOUNTS: Compilers<Kinds> = {
  "attach-root": ({ fd }, c) => {
    // Any directory will do as a place until enter-root, but /proc and /sys: init is just making new ones of those,
    // which the kernel allows where the host's are in full sight.
    c.asm.call(c.keeper, "move_mount", [c.fd(fd), "", AT_FDCWD, "/dev", MOVE_MOUNT_F_EMPTY_PATH]);
    c.asm.call(
      c.keeper,
      "openat2",
      [AT_FDCWD, "/dev", c.how(OPEN_FLAGS[c.arch].O_DIRECTORY, RESOLVE_NO_SYMLINKS), 24],
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
    writeNewFile(c, directory, name, mode, Buffer.from(text));
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
  console: ({ owner, size }, c) => {
    const { asm, keeper } = c;
    const how = c.how(O_RDWR | O_NOCTTY | O_NONBLOCK, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
    asm.call(keeper, "openat2", [c.root, "/dev/pts/ptmx", how, 24], { into: c.master });
    asm.call(keeper, "ioctl", [c.master, TIOCSPTLCK, asm.reserve(8)]);
    if (size !== null) asm.call(keeper, "ioctl", [c.master, TIOCSWINSZ, asm.bytes(windowSize(size))]);
    asm.call(keeper, "ioctl", [c.master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC], { into: c.slave });
    const TTY_GROUP = 5;
    asm.call(keeper, "fchown", [c.slave, owner, owner + TTY_GROUP]);
    const mount = c.cloneMount(keeper, c.slave, "", 0);
    const place = c.openTarget("/dev/console", "file", true, false);
    c.attach(mount, place);
    for (const used of [mount, place]) asm.call(keeper, "close", [used]);
  },
};
