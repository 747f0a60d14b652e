import { closeSync, constants, existsSync, openSync } from "node:fs";
import { bind, check, failedWith, pinned } from "./libc.ts";

/**
 * Open file description locks of fcntl(2), over the whole file: the kind that systemd's managers take, which no flock(2)
 * heeds. Like that one's, such a lock belongs to what was opened and lives as long as any copy of the fd.
 */
const fcntlCall = bind("int fcntl(int fd, int command, void *lock)");

const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;

/**
 * Takes the lock without waiting, or changes a shared one that this fd has into one that is not; the fd must be open for
 * reading and writing. False: somebody else holds it.
 */
export function tryFileLock(fd: number, path: string, shared = false): boolean {
  const result = fcntlCall(fd, F_OFD_SETLK, wholeFile(shared ? F_RDLCK : F_WRLCK));
  if (result < 0 && failedWith("EAGAIN")) return false;
  check(result, "fcntl F_OFD_SETLK", { path });
  return true;
}

/** Whether somebody holds the lock of a file. Leaves nothing; a file that can't be opened counts as locked. */
export function isLocked(path: string): boolean {
  if (!existsSync(path)) return false; // mostly so, and an error of Node's would take longer
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return existsSync(path);
  }
  try {
    const lock = wholeFile(F_WRLCK);
    check(fcntlCall(fd, F_OFD_GETLK, lock), "fcntl F_OFD_GETLK", { path });
    return lock.readInt16LE(0) !== F_UNLCK;
  } finally {
    closeSync(fd);
  }
}

/** struct flock: l_type at 0, l_whence at 2, l_start at 8, l_len at 16, l_pid at 24; zeros are the whole file, and must be for l_pid. */
function wholeFile(type: number): Buffer {
  const lock = pinned(32);
  lock.writeInt16LE(type, 0);
  return lock;
}
