import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import {
  AT_FDCWD,
  LOCK_EX,
  LOCK_NB,
  O_CLOEXEC,
  O_NONBLOCK,
  O_PATH,
  OPEN_FLAGS,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RESOLVE_IN_ROOT,
} from "./constants.ts";
import { ARCH, bind, check, type ErrorName, failedWith, pinned } from "./libc.ts";
import { syscallNumber } from "./syscall-numbers.ts";

const openat2Call = bind("long syscall(long number, int dirfd, const char *path, void *how, size_t size)");
const readlinkatCall = bind("long readlinkat(int dirfd, const char *path, void *buffer, size_t size)");
const renameat2Call = bind("int renameat2(int from_fd, const char *from, int to_fd, const char *to, uint flags)");
const memfdCreateCall = bind("int memfd_create(const char *name, uint flags)");
const flockCall = bind("int flock(int fd, int operation)");
const fcntlCall = bind("int fcntl(int fd, int command, long argument)");
const ftruncateCall = bind("long ftruncate(int fd, long size)");
const lseekCall = bind("long lseek(int fd, long offset, int whence)");

const F_GETFL = 3;
const F_SETFL = 4;
const F_SETPIPE_SZ = 1031;
const PATH_MAX = 4096;
const F_DUPFD_CLOEXEC = 1030;
const F_ADD_SEALS = 1033;
/** No change of its bytes or size, nor of these seals. */
const F_SEAL_ALL = 0x1 | 0x2 | 0x4 | 0x8;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const MFD_NOEXEC_SEAL = 8;
const MFD_EXEC = 16;

/** struct open_how, whose fields have 64 bits. */
const openHow = pinned(24);

/**
 * openat2(2): resolves `path` below `dirfd` under `resolve` rules (RESOLVE_*). The fd is close-on-exec.
 * @throws SysError naming `path`
 */
export function openat2(
  dirfd: number,
  path: string,
  flags: number,
  resolve: number = RESOLVE_IN_ROOT,
  mode = 0,
): number {
  return check(tryOpenat2(dirfd, path, flags, resolve, mode), "openat2", { path });
}

/** The same, or null after one of these errors: for what is often not there, as an error takes longer to make than the call. */
export function openat2Unless(
  errors: readonly ErrorName[],
  dirfd: number,
  path: string,
  flags: number,
  resolve: number,
): number | null {
  const fd = tryOpenat2(dirfd, path, flags, resolve, 0);
  return fd < 0 && failedWith(...errors) ? null : check(fd, "openat2", { path });
}

function tryOpenat2(dirfd: number, path: string, flags: number, resolve: number, mode: number): number {
  openHow.writeUInt32LE(flags | O_CLOEXEC, 0);
  openHow.writeUInt32LE(mode, 8);
  openHow.writeUInt32LE(resolve, 16);
  return openat2Call(syscallNumber("openat2", ARCH), dirfd, path, openHow, 24);
}

/** readlinkat(2) of a symbolic link that an O_PATH | O_NOFOLLOW fd holds. */
export function readLink(fd: number): string {
  return readLinkBytes(fd).toString("utf8");
}

export function readLinkBytes(fd: number): Buffer {
  const target = pinned(PATH_MAX);
  const length = check(readlinkatCall(fd, "", target, target.length), "readlinkat", { subject: `fd ${fd}` });
  return target.subarray(0, length);
}

/** open(2) flags of this architecture that Node has no constants for. */
export const { O_DIRECTORY, O_NOFOLLOW } = OPEN_FLAGS[ARCH];

/** renameat2(2) with RENAME_EXCHANGE: what was at either path is at the other one, at once. */
export function renameExchange(one: string, other: string): void {
  check(renameat2Call(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE), "renameat2", { path: other });
}

/** renameat2(2) with RENAME_NOREPLACE: fails with EEXIST where rename(2) would silently replace an empty directory. */
export function renameNoReplace(from: string, to: string): void {
  check(renameat2Call(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE), "renameat2", { path: to });
}

/** memfd_create(2), close-on-exec. `name` shows in /proc/PID/fd only. */
export function memfdCreate(name: string): number {
  // vm.memfd_noexec=2 forbids any other kind; kernels before 6.3 do not know the flag.
  const sealed = memfdCreateCall(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL);
  return sealed >= 0 ? sealed : check(memfdCreateCall(name, MFD_CLOEXEC), "memfd_create");
}

/**
 * A copy of an executable in memory that nobody can change, not even root (fcntl(2), "File Sealing"). Returns its fd,
 * close-on-exec; null where this host executes no memfd (sysctl vm.memfd_noexec=2).
 * @throws the errno error of reading `path`
 */
export function sealedExecutable(path: string, name: string): number | null {
  const content = readFileSync(path);
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  let fd = memfdCreateCall(name, flags | MFD_EXEC);
  // Kernels before 6.3 do not know the flag, and make every memfd executable.
  if (fd < 0 && failedWith("EINVAL")) fd = memfdCreateCall(name, flags);
  if (fd < 0) return null;
  if (writeSync(fd, content) === content.length && fcntlCall(fd, F_ADD_SEALS, F_SEAL_ALL) === 0) return fd;
  closeQuietly(fd);
  return null;
}

/** /dev/null for reading and writing, close-on-exec. */
export function openNull(): number {
  return openSync("/dev/null", "r+");
}

export function truncateFd(fd: number, size: number): void {
  check(ftruncateCall(fd, size), "ftruncate");
}

/** Where the next read(2) or write(2) of a file begins, of all processes that share this open file. */
export function offsetOf(fd: number): number {
  return skip(fd, 0);
}

/** Moves its offset, back as well. Returns what it is then. */
export function skip(fd: number, bytes: number): number {
  const SEEK_CUR = 1;
  return check(lseekCall(fd, bytes, SEEK_CUR), "lseek", { subject: `fd ${fd}` });
}

/** flock(2) LOCK_EX without waiting. False: somebody else holds it. The lock lives as long as any copy of the fd. */
export function tryLock(fd: number, path: string): boolean {
  const result = flockCall(fd, LOCK_EX | LOCK_NB);
  if (result < 0 && failedWith("EAGAIN")) return false;
  check(result, "flock", { path });
  return true;
}

/** flock(2) LOCK_EX, waiting for whoever has it: only for locks that are held for a moment. */
export function lockWaiting(fd: number, path: string): void {
  check(flockCall(fd, LOCK_EX), "flock", { path });
}

/** A close-on-exec copy of `fd` with a number of at least `minimum`. */
export function duplicate(fd: number, minimum = 3): number {
  return check(fcntlCall(fd, F_DUPFD_CLOEXEC, minimum), "fcntl F_DUPFD_CLOEXEC", { subject: `fd ${fd}` });
}

/** Whether `fd` names a file without having it open (O_PATH). */
export function isPath(fd: number): boolean {
  return (check(fcntlCall(fd, F_GETFL, 0), "fcntl F_GETFL", { subject: `fd ${fd}` }) & O_PATH) !== 0;
}

/**
 * Lets reads and writes wait, for everybody who has this open file: Node makes the pipes it finds at fds 0 to 2
 * non-blocking, and no other program expects that.
 */
export function makeBlocking(fd: number): void {
  const flags = check(fcntlCall(fd, F_GETFL, 0), "fcntl F_GETFL", { subject: `fd ${fd}` });
  if ((flags & O_NONBLOCK) !== 0) check(fcntlCall(fd, F_SETFL, flags & ~O_NONBLOCK), "fcntl F_SETFL");
}

/** Lets a pipe hold `bytes`, where its user may have so much; else it stays as it is. */
export function growPipe(fd: number, bytes: number): void {
  fcntlCall(fd, F_SETPIPE_SZ, bytes);
}

/** Closes, and says nothing when the fd is closed already: undo paths may meet it twice. */
export function closeQuietly(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // EBADF is the only error close(2) has that means anything, and it means there is nothing to do.
  }
}
