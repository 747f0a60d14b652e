import { constants, fstatSync, ftruncateSync, mkdirSync, openSync, statSync, unlinkSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { errorCode } from "../errors.ts";
import { tryFileLock } from "../sys/file-lock.ts";
import { closeQuietly } from "../sys/files.ts";

/**
 * Opens and locks `path`, `shared` with others who do the same; null: somebody else holds it. The file may have been unlinked between open and lock by a
 * holder that just left: then it is tried again.
 */
export function lockFile(path: string, shared = false): number | null {
  for (;;) {
    const fd = openOrMake(path);
    try {
      if (!tryFileLock(fd, path, shared)) {
        closeQuietly(fd);
        return null;
      }
      if (fstatSync(fd).ino === statSync(path, { throwIfNoEntry: false })?.ino) return fd;
    } catch (error) {
      closeQuietly(fd);
      throw error;
    }
    closeQuietly(fd);
  }
}

/** Its directory is there nearly always. */
function openOrMake(path: string): number {
  const open = (): number => openSync(path, constants.O_CREAT | constants.O_RDWR | constants.O_NOFOLLOW, 0o600);
  try {
    return open();
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    return open();
  }
}

/** The same, with our pid in it, for people to read. */
export function lockWithPid(path: string): number | null {
  const fd = lockFile(path);
  if (fd === null) return null;
  try {
    ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n`, 0);
  } catch {
    // The disk is full: it is locked all the same.
  }
  return fd;
}

/** The lock file of a tree in systemd-nspawn's registry, which knows trees by their inodes. @throws where there is none */
export function treeLock(registry: string, tree: string): string {
  const { dev, ino } = statSync(tree, { bigint: true });
  return `${registry}/inode-${dev}:${ino}`;
}

/** The last one who shares a lock takes the file away. */
export function unlinkShared(path: string, fd: number): void {
  if (tryFileLock(fd, path)) unlinkLocked(path, fd);
  else closeQuietly(fd);
}

export function unlinkLocked(path: string, fd: number): void {
  try {
    unlinkSync(path);
  } catch {
    // Someone cleaned the run directory: the lock itself goes with the fd.
  }
  closeQuietly(fd);
}
