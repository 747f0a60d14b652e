import type { Removal } from "../plan/step.ts";
import type { Register } from "../stage/assembler.ts";
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
  O_PATH,
  O_RDWR,
  OPEN_FLAGS,
  OPEN_TREE_CLONE,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_SYMLINKS,
  S_IFCHR,
  S_IFREG,
  TIOCGPTPEER,
  TIOCSPTLCK,
  TIOCSWINSZ,
} from "../sys/constants.ts";
import { type Compilation, type Compilers, EEXIST, ENOENT } from "./compilation.ts";
import { writeNewFile } from "./compile-files.ts";
import { openTarget } from "./open-target.ts";
import { windowSize } from "./structs.ts";

const LOCKED_DOWN = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

const BOTH_BY_FD = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;

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
    attachTo(c, mount, target, "directory", true, remove);
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

  /** The root, or one of our own mounts, once everything in it is written. */
  "set-read-only": ({ path }, c) => {
    const { asm, keeper } = c;
    const directory = path === "/" ? c.root : c.parent(`${path}/.`).directory;
    asm.call(keeper, "mount_setattr", [directory, "", AT_EMPTY_PATH, asm.words([MOUNT_ATTR_RDONLY, 0, 0, 0]), 32]);
  },

  attach: ({ fd, target, create, api, remove }, c) => {
    attachTo(c, c.fd(fd), target, create, api, remove);
    if (api) c.rememberDirectory(target, c.fd(fd));
  },

  "make-mount-point": ({ path, remove }, c) => {
    openTarget(c, path, "directory", false, remove);
  },

  /**
   * Nothing to see and nothing to open: a copy of what lies in /run/host, which is read-only by then, nosuid, nodev and
   * noexec. A path that this kernel does not have needs no mask.
   */
  mask: ({ path, over }, c) => {
    const { asm, keeper } = c;
    const empty = c.parent(`/run/host/inaccessible/${over === "directory" ? "dir" : "reg"}`);
    const { directory, name } = c.within(path);
    const place = asm.register();
    // Before the copy is made: to drop one that was never attached waits for an RCU grace period.
    const flags = O_PATH | O_CLOEXEC | OPEN_FLAGS[c.arch].O_NOFOLLOW;
    asm.call(keeper, "openat", [directory, name, flags], { into: place, tolerate: ENOENT });
    const mount = c.cloneMount(keeper, empty.directory, empty.name, 0, place);
    asm.call(keeper, "move_mount", [mount, "", place, "", BOTH_BY_FD], { onlyIf: place });
    for (const fd of [mount, place]) asm.call(keeper, "close", [fd], { onlyIf: place });
  },

  /** `except` is a directory below that stays writable: it is opened before it is covered. */
  "lock-read-only": ({ path, except }, c) => {
    const { asm, keeper } = c;
    const { directory, name } = c.within(path);
    const mount = asm.register();
    asm.call(keeper, "open_tree", [directory, name, OPEN_TREE_CLONE | O_CLOEXEC], { into: mount, tolerate: ENOENT });
    const covered = { onlyIf: mount };
    asm.call(keeper, "mount_setattr", [mount, "", AT_EMPTY_PATH, asm.words([LOCKED_DOWN, 0, 0, 0]), 32], covered);
    const writable = except === null ? undefined : c.cloneMount(keeper, directory, `${name}/${except}`, 0, mount);
    asm.call(keeper, "move_mount", [mount, "", directory, name, MOVE_MOUNT_F_EMPTY_PATH], covered);
    if (writable !== undefined) {
      asm.call(keeper, "move_mount", [writable, "", mount, except ?? "", MOVE_MOUNT_F_EMPTY_PATH], covered);
      asm.call(keeper, "close", [writable], covered);
    }
    asm.call(keeper, "close", [mount], covered);
  },

  /** The machine's own devpts holds its console; only fds are used, so nothing in the tree can stand in for it. */
  console: ({ owner, group, size }, c) => {
    const { asm, keeper } = c;
    const how = c.how(O_RDWR | O_NOCTTY | O_NONBLOCK, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
    asm.call(keeper, "openat2", [c.root, "/dev/pts/ptmx", how, 24], { into: c.master });
    asm.call(keeper, "ioctl", [c.master, TIOCSPTLCK, asm.reserve(8)]);
    if (size !== null) asm.call(keeper, "ioctl", [c.master, TIOCSWINSZ, asm.bytes(windowSize(size))]);
    asm.call(keeper, "ioctl", [c.master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC], { into: c.slave });
    asm.call(keeper, "fchown", [c.slave, owner, group]);
    const mount = c.cloneMount(keeper, c.slave, "", 0);
    attachTo(c, mount, "/dev/console", "file", true, false);
    asm.call(keeper, "close", [mount]);
  },
};

/**
 * Attaches a detached mount. On berth's own mounts a name is enough, since nobody else has been there; in the tree the
 * place is opened before, and `api` ones never through a symbolic link.
 */
function attachTo(
  c: Compilation,
  mount: number | Register,
  target: string,
  create: "directory" | "file" | null,
  api: boolean,
  remove: Removal,
): void {
  const { asm, keeper } = c;
  const own = api ? c.own(target) : undefined;
  if (own === undefined) {
    const place = openTarget(c, target, create, api, remove);
    asm.call(keeper, "move_mount", [mount, "", place, "", BOTH_BY_FD]);
    asm.call(keeper, "close", [place]);
    return;
  }
  const { directory, name } = own;
  if (create === "directory") asm.call(keeper, "mkdirat", [directory, name, 0o755], { tolerate: EEXIST });
  if (create === "file") asm.call(keeper, "mknodat", [directory, name, S_IFREG | 0o644, 0]);
  asm.call(keeper, "move_mount", [mount, "", directory, name, MOVE_MOUNT_F_EMPTY_PATH]);
}
