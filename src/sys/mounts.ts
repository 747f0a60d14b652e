import { openSync } from "node:fs";
import { errorCode } from "../errors.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  MOUNT_ATTR_IDMAP,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  O_PATH,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
  RESOLVE_IN_ROOT,
} from "./constants.ts";
import { closeQuietly, O_DIRECTORY, openat2 } from "./files.ts";
import { ARCH, bind, check, pinned } from "./libc.ts";
import { syscallNumber } from "./syscall-numbers.ts";

const openTreeCall = bind("long syscall(long number, int dirfd, const char *path, uint flags)");
const fsopenCall = bind("long syscall(long number, const char *type, uint flags)");
const fsconfigCall = bind(
  "long syscall(long number, int fd, uint command, const char *name, const char *value, int aux)",
);
const fsmountCall = bind("long syscall(long number, int fd, uint flags, uint attributes)");
const moveMountCall = bind(
  "long syscall(long number, int from, const char *path, int to, const char *target, uint flags)",
);
const mountSetattrCall = bind(
  "long syscall(long number, int dirfd, const char *path, uint flags, void *attr, size_t size)",
);

/** open_tree(2) with OPEN_TREE_CLONE: a detached copy of the mount at `path`, with its submounts if `recursive`. */
export function cloneTree(path: string, recursive: boolean): number {
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0);
  return check(openTreeCall(syscallNumber("open_tree", ARCH), AT_FDCWD, path, flags), "open_tree", { path });
}

/** move_mount(2): puts a detached mount (an fd of it) on a directory of another one that is detached, too: since Linux 6.15. */
export function moveMountInto(mount: number, root: number, name: string): void {
  const directory = openat2(root, name, O_PATH | O_DIRECTORY, RESOLVE_IN_ROOT);
  try {
    const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    const number = syscallNumber("move_mount", ARCH);
    check(moveMountCall(number, mount, "", directory, "", flags), "move_mount", { path: name });
  } finally {
    closeQuietly(directory);
  }
}

/** The same of a place below `root`, a tree that is not trusted: no link in it leads out of it. */
export function cloneInside(root: string, path: string, recursive: boolean): number {
  const directory = openSync(root, O_PATH | O_DIRECTORY);
  let place = -1;
  try {
    place = openat2(directory, path, O_PATH, RESOLVE_IN_ROOT);
    const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    return check(openTreeCall(syscallNumber("open_tree", ARCH), place, "", flags), "open_tree", { path });
  } finally {
    closeQuietly(directory);
    if (place >= 0) closeQuietly(place);
  }
}

/** fsopen(2), fsconfig(2), fsmount(2): a new file system, detached, with MOUNT_ATTR_* set. Null: an option without a value. */
export function makeFileSystem(
  type: string,
  options: readonly (readonly [name: string, value: string | null])[],
  attributes: number,
): number {
  const path = type;
  const context = check(fsopenCall(syscallNumber("fsopen", ARCH), type, FSOPEN_CLOEXEC), "fsopen", { path });
  try {
    const configure = (command: number, name: string | null, value: string | null): void => {
      check(fsconfigCall(syscallNumber("fsconfig", ARCH), context, command, name, value, 0), "fsconfig", { path });
    };
    for (const [name, value] of options)
      configure(value === null ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING, name, value);
    configure(FSCONFIG_CMD_CREATE, null, null);
    return check(fsmountCall(syscallNumber("fsmount", ARCH), context, FSMOUNT_CLOEXEC, attributes), "fsmount", {
      path,
    });
  } finally {
    closeQuietly(context);
  }
}

const ONLY_READ = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

/** A detached overlay of directories, given by fds of them, topmost first: to be read only. */
export function mountLayers(layers: readonly number[]): number {
  const mount = (lower: readonly (readonly [string, string])[]): number =>
    makeFileSystem("overlay", [...lower, ["userxattr", null], ["index", "off"]], ONLY_READ);
  try {
    return mount(layers.map((fd) => ["lowerdir+", `/proc/self/fd/${fd}`] as const));
  } catch (error) {
    if (errorCode(error) !== "EINVAL") throw error;
    return fromDescriptors(() => mount([["lowerdir", layers.join(":")]]));
  }
}

/** Before Linux 6.5 all layers are one text, of at most 255 characters: so these have names as short as can be. */
function fromDescriptors<T>(use: () => T): T {
  const before = process.cwd();
  process.chdir("/proc/self/fd");
  try {
    return use();
  } finally {
    process.chdir(before);
  }
}

export interface MountAttributes {
  /** MOUNT_ATTR_* to set. */
  readonly set?: number;
  /** MOUNT_ATTR_* to take away. */
  readonly clear?: number;
  /** MS_PRIVATE, MS_SLAVE or MS_SHARED. */
  readonly propagation?: number;
  /** A user namespace's fd: map the owners of the mount through its maps. */
  readonly idmap?: number;
}

/** mount_setattr(2) on the mount behind `fd` and, if `recursive`, those below it. `path` is for the error text. */
export function setMountAttributes(fd: number, attributes: MountAttributes, recursive: boolean, path: string): void {
  const attr = pinned(32);
  const idmap = attributes.idmap === undefined ? 0 : MOUNT_ATTR_IDMAP;
  attr.writeBigUInt64LE(BigInt((attributes.set ?? 0) | idmap), 0);
  attr.writeBigUInt64LE(BigInt(attributes.clear ?? 0), 8);
  attr.writeBigUInt64LE(BigInt(attributes.propagation ?? 0), 16);
  attr.writeBigUInt64LE(BigInt(attributes.idmap ?? 0), 24);
  const flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
  check(mountSetattrCall(syscallNumber("mount_setattr", ARCH), fd, "", flags, attr, 32), "mount_setattr", { path });
}
