import {
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_FOLLOW,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  OPEN_FLAGS,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
} from "./constants.ts";
import { ARCH, bind, check, failedWith, pinned } from "./libc.ts";
import { syscallNumber } from "./syscall-numbers.ts";

/**
 * Entries of directories that are open, by names of bytes: one part of a path each, so nothing that is renamed or linked
 * meanwhile leads anywhere else.
 */
const openat2Call = bind("long syscall(long number, int dirfd, const void *path, void *how, size_t size)");
const mkdiratCall = bind("int mkdirat(int dirfd, const void *path, uint mode)");
const mknodatCall = bind("int mknodat(int dirfd, const void *path, uint mode, ulong device)");
const symlinkatCall = bind("int symlinkat(const void *target, int dirfd, const void *path)");
const linkatCall = bind("int linkat(int from_fd, const void *from, int to_fd, const void *to, int flags)");
const renameat2Call = bind("int renameat2(int from_fd, const void *from, int to_fd, const void *to, uint flags)");
const unlinkatCall = bind("int unlinkat(int dirfd, const void *path, int flags)");
const readlinkatCall = bind("long readlinkat(int dirfd, const char *path, void *buffer, size_t size)");
const utimensatCall = bind("int utimensat(int dirfd, const void *path, void *times, int flags)");
const futimensCall = bind("int futimens(int fd, void *times)");
const getdentsCall = bind("long syscall(long number, int fd, void *buffer, size_t size)");

const PATH_MAX = 4096;
const ENTRIES_SIZE = 64 << 10;
const SELF = Buffer.from(".");
/** Of struct linux_dirent64's d_type (dirent.h). */
export const [DT_UNKNOWN, DT_CHR, DT_DIR, DT_REG] = [0, 2, 4, 8];

/** openat2(2): `name` itself, never what a link of that name leads to. */
export function openBelow(directory: number, name: Buffer, flags: number, mode = 0): number {
  const how = pinned(24);
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC | OPEN_FLAGS[ARCH].O_NOFOLLOW), 0);
  how.writeBigUInt64LE(BigInt(mode), 8);
  how.writeBigUInt64LE(BigInt(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS), 16);
  return check(openat2Call(syscallNumber("openat2", ARCH), directory, terminated(name), how, 24), "openat2");
}

/** What file systems say that have none, NFS and FUSE. */
const NO_NAMELESS = ["EOPNOTSUPP", "EISDIR", "EINVAL", "ENOSYS", "ENOENT"] as const;

/** An O_TMPFILE (open(2)): a file without a name, which is gone when it is closed before it gets one. Null: the file system has none. */
export function openNameless(directory: number, flags: number, mode: number): number | null {
  const how = pinned(24);
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC | OPEN_FLAGS[ARCH].O_TMPFILE), 0);
  how.writeBigUInt64LE(BigInt(mode), 8);
  const result = openat2Call(syscallNumber("openat2", ARCH), directory, terminated(SELF), how, 24);
  if (result < 0 && failedWith(...NO_NAMELESS)) return null;
  return check(result, "open O_TMPFILE");
}

export function makeDirectory(directory: number, name: Buffer, mode: number): void {
  check(mkdiratCall(directory, terminated(name), mode), "mkdirat");
}

const S_IFCHR = 0o020000;

/** What overlayfs takes for "there is none of this name below": a character device 0:0. */
export function makeWhiteout(directory: number, name: Buffer): void {
  check(mknodatCall(directory, terminated(name), S_IFCHR, 0), "mknodat");
}

export function makeSymlink(target: Buffer, directory: number, name: Buffer): void {
  check(symlinkatCall(terminated(target), directory, terminated(name)), "symlinkat");
}

/** Another name for the file that `fd` holds, or its first one. */
export function linkFile(fd: number, directory: number, name: Buffer): void {
  const from = terminated(Buffer.from(`/proc/self/fd/${fd}`));
  check(linkatCall(AT_FDCWD, from, directory, terminated(name), AT_SYMLINK_FOLLOW), "linkat");
}

/** Within one directory; `flags`: RENAME_*. */
export function renameEntry(directory: number, from: Buffer, to: Buffer, flags: number): void {
  check(renameat2Call(directory, terminated(from), directory, terminated(to), flags), "renameat2");
}

export function removeEntry(directory: number, name: Buffer): void {
  check(unlinkatCall(directory, terminated(name), 0), "unlinkat");
}

/** An empty one. */
export function removeDirectory(directory: number, name: Buffer): void {
  check(unlinkatCall(directory, terminated(name), AT_REMOVEDIR), "unlinkat");
}

/** A fifo, a socket or a device; `mode`: with its type. `device`: as stat(2) has it. */
export function makeNode(directory: number, name: Buffer, mode: number, device: bigint): void {
  check(mknodatCall(directory, terminated(name), mode, device), "mknodat");
}

/** Of the symbolic link that an O_PATH fd holds. */
export function readLinkBytes(fd: number): Buffer {
  const target = pinned(PATH_MAX);
  const length = check(readlinkatCall(fd, "", target, target.length), "readlinkat");
  return target.subarray(0, length);
}

/** Nanoseconds since the epoch. */
export interface FileTimes {
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
}

/** Of a file that is open, and not with O_PATH. */
export function setTimes(fd: number, times: FileTimes): void {
  check(futimensCall(fd, timespecs(times)), "futimens");
}

export function setEntryTimes(directory: number, name: Buffer, times: FileTimes): void {
  check(utimensatCall(directory, terminated(name), timespecs(times), AT_SYMLINK_NOFOLLOW), "utimensat");
}

/** Names in a directory that is open for reading, some at a time; nothing but the kernel's buffer is kept of them. */
export function* entriesOf(directory: number): Generator<Buffer> {
  for (const { name } of typedEntriesOf(directory)) yield name;
}

export interface TypedEntry {
  readonly name: Buffer;
  /** DT_*; where a file system does not say it DT_UNKNOWN. */
  readonly type: number;
}

/** The same with what each is: readdir(3). */
export function* typedEntriesOf(directory: number): Generator<TypedEntry> {
  for (;;) {
    const buffer = pinned(ENTRIES_SIZE);
    const result = getdentsCall(syscallNumber("getdents64", ARCH), directory, buffer, buffer.length);
    // That of a directory which has been removed meanwhile.
    if (result < 0 && failedWith("ENOENT")) return;
    const length = check(result, "getdents64");
    if (length === 0) return;
    // struct linux_dirent64: d_ino, d_off, d_reclen (16 bits), d_type (8), d_name
    for (let at = 0; at < length; at += buffer.readUInt16LE(at + 16)) {
      const start = at + 19;
      const name = Buffer.from(buffer.subarray(start, buffer.indexOf(0, start)));
      if (!name.equals(SELF) && name.toString("latin1") !== "..") yield { name, type: buffer.readUInt8(at + 18) };
    }
  }
}

function terminated(name: Buffer): Buffer {
  if (name.includes(0)) throw new Error("a name with a NUL byte can't be passed to the kernel");
  return Buffer.concat([name, Buffer.alloc(1)]);
}

function timespecs({ atimeNs, mtimeNs }: FileTimes): Buffer {
  const times = pinned(32);
  [atimeNs, mtimeNs].forEach((time, index) => {
    // Rounded down, as before the epoch nanoseconds count forwards, too.
    const nanoseconds = ((time % BILLION) + BILLION) % BILLION;
    times.writeBigInt64LE((time - nanoseconds) / BILLION, index * 16);
    times.writeBigInt64LE(nanoseconds, index * 16 + 8);
  });
  return times;
}

const BILLION = 1_000_000_000n;
