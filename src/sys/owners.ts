import { AT_EMPTY_PATH, O_CLOEXEC, O_PATH, RESOLVE_BENEATH, RESOLVE_NO_XDEV } from "./constants.ts";
import { O_NOFOLLOW } from "./files.ts";
import { ARCH, bind, bindPlain, check, failedWith, pinned } from "./libc.ts";
import { syscallNumber } from "./syscall-numbers.ts";

/**
 * Owners and what goes with them (ACLs, capabilities) of files that an O_PATH fd holds: found by a name of bytes in a
 * directory that is open, so whatever is renamed or linked meanwhile, no other file is meant.
 */
const openat2Call = bind("long syscall(long number, int dirfd, const void *path, void *how, size_t size)");
const fchownatCall = bind("int fchownat(int dirfd, const char *path, uint uid, uint gid, int flags)");
const listxattrCall = bind("long listxattr(const char *path, void *list, size_t size)");
const llistxattrCall = bindPlain("long llistxattr(const void *path, void *list, size_t size)");
const getxattrCall = bind("long getxattr(const char *path, const void *name, void *value, size_t size)");
const setxattrCall = bind(
  "int setxattr(const char *path, const void *name, const void *value, size_t size, int flags)",
);
const removexattrCall = bind("int removexattr(const char *path, const void *name)");

/** XATTR_LIST_MAX and XATTR_SIZE_MAX of linux/limits.h. */
const XATTR_MAX = 65536;
let buffer: Buffer | undefined;
let how: Buffer | undefined;

/** What is called `name` (one part of a path) in a directory. Null: it is gone. @throws SysError, EXDEV for a mount */
export function openEntry(directory: number, name: Buffer): number | null {
  if (how === undefined) {
    how = pinned(24);
    how.writeBigUInt64LE(BigInt(O_PATH | O_NOFOLLOW | O_CLOEXEC), 0);
    how.writeBigUInt64LE(BigInt(RESOLVE_BENEATH | RESOLVE_NO_XDEV), 16);
  }
  const path = Buffer.concat([name, Buffer.alloc(1)]);
  const fd = openat2Call(syscallNumber("openat2", ARCH), directory, path, how, 24);
  if (fd < 0 && failedWith("ENOENT")) return null;
  return check(fd, "openat2");
}

/** fchownat(2). Of a program it also takes the set-user-ID and set-group-ID bits and the capabilities away. */
export function changeOwner(fd: number, uid: number, gid: number): void {
  check(fchownatCall(fd, "", uid, gid, AT_EMPTY_PATH), "fchownat");
}

/** Names of the extended attributes, a character a byte (latin1); none where the file system has none. */
export function listAttributes(fd: number): readonly string[] {
  buffer ??= pinned(XATTR_MAX);
  return namesIn(buffer, listxattrCall(pathOf(fd), buffer, buffer.length), "listxattr");
}

/** The same of what is called `name` in a directory: of a link those of its own, and none of what has gone. */
export function listEntryAttributes(directory: number, name: Buffer): readonly string[] {
  buffer ??= pinned(XATTR_MAX);
  const path = Buffer.concat([Buffer.from(`${pathOf(directory)}/`), name, Buffer.alloc(1)]);
  return namesIn(buffer, llistxattrCall(path, buffer, buffer.length), "llistxattr");
}

function namesIn(list: Buffer, length: number, syscall: string): readonly string[] {
  if (length < 0 && failedWith("EOPNOTSUPP", "ENOENT")) return [];
  const names = list.toString("latin1", 0, check(length, syscall));
  return names === "" ? [] : names.slice(0, -1).split("\0");
}

/** Null: it has no such attribute. */
export function getAttribute(fd: number, name: string): Buffer | null {
  buffer ??= pinned(XATTR_MAX);
  const length = getxattrCall(pathOf(fd), bytesOf(name), buffer, buffer.length);
  if (length < 0 && failedWith("ENODATA", "EOPNOTSUPP")) return null;
  return Buffer.from(buffer.subarray(0, check(length, "getxattr", { subject: name })));
}

/** False: this file system does not have such attributes. */
export function setAttribute(fd: number, name: string, value: Buffer): boolean {
  const result = setxattrCall(pathOf(fd), bytesOf(name), value, value.length, 0);
  if (result < 0 && failedWith("EOPNOTSUPP")) return false;
  check(result, "setxattr", { subject: name });
  return true;
}

export function removeAttribute(fd: number, name: string): void {
  check(removexattrCall(pathOf(fd), bytesOf(name)), "removexattr", { subject: name });
}

function bytesOf(name: string): Buffer {
  return Buffer.from(`${name}\0`, "latin1");
}

/** For calls that know no AT_EMPTY_PATH: leads to the very file. */
function pathOf(fd: number): string {
  return `/proc/self/fd/${fd}`;
}
