import {
  type BigIntStats,
  closeSync,
  fchownSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmdirSync,
} from "node:fs";
import { BerthError, errorCode } from "../errors.ts";
import { removeTree } from "../host/remove-tree.ts";
import type { StepOf } from "../plan/step.ts";
import { AT_FDCWD, O_PATH, O_RDONLY, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV } from "../sys/constants.ts";
import { O_DIRECTORY, openat2 } from "../sys/files.ts";
import { cloneTree } from "../sys/mounts.ts";

/**
 * The directory that has an overlay's upper layer and, beside it, what the kernel works in. Whoever owns it, be it as
 * root of the machine, can rename and link what is in it at any time: so it is held by its fd, and what is in it is
 * opened without following links, and looked at, before anything is done to it.
 */
type Upper = StepOf<"open-upper">["args"];

/** An fd of a mount of it. The work directory is made, and is gone with `undo`. */
export function openUpper(upper: Upper, made: (undo: () => void) => void): number {
  const directory = openDirectory(upper);
  let handedOver = false;
  try {
    closeSync(openBelow(directory, upper.data, O_PATH));
    mkdirSync(`/proc/self/fd/${directory}/${upper.work}`, 0o700);
    let inode: bigint | null = null;
    handedOver = true;
    made(() => {
      try {
        removeBelow(directory, upper.work, inode);
      } finally {
        closeSync(directory);
      }
    });
    inode = own(directory, upper);
    return cloneTree(`/proc/self/fd/${directory}`, false);
  } finally {
    if (!handedOver) closeSync(directory);
  }
}

/** Of a machine whose supervisor was killed; fine if nothing is there. */
export function removeWork(upper: Pick<Upper, "path" | "inside" | "work">): void {
  const directory = unlessGone(() => openDirectory(upper));
  if (directory === null) return;
  try {
    removeBelow(directory, upper.work, null);
  } finally {
    closeSync(directory);
  }
}

/** Gives it to its owner: it, and not what somebody has put in its place meanwhile. */
function own(directory: number, { work, owner }: Upper): bigint {
  const fd = openBelow(directory, work, O_RDONLY);
  try {
    const { uid, mode, ino } = statOf(fd);
    const isNew = Number(uid) === process.geteuid?.() && (Number(mode) & 0o777) === 0o700;
    if (!isNew || readdirSync(`/proc/self/fd/${fd}`).length > 0)
      throw new BerthError(`${work} has just been replaced by somebody else's`, {
        hint: "whoever may write beside an upper layer can do that",
      });
    fchownSync(fd, owner, owner);
    return ino;
  } finally {
    closeSync(fd);
  }
}

/** What overlayfs makes in its work directory. */
const OF_OVERLAYFS = ["work", "index"];

/** Takes no process where the kernel has left nothing. `inode`: as it was made, null: not known. */
function removeBelow(directory: number, work: string, inode: bigint | null): void {
  const fd = unlessGone(() => openBelow(directory, work, O_PATH));
  if (fd === null) return;
  try {
    if (inode !== null && statOf(fd).ino !== inode) return; // somebody has put another in its place: theirs
    for (const name of OF_OVERLAYFS) {
      if (!removeEmpty(`/proc/self/fd/${fd}/${name}`)) removeTree(`/proc/${process.pid}/fd/${fd}/${name}`);
    }
    // Never follows a link either. What somebody has put there is not ours to remove, and stays in it.
    removeEmpty(`/proc/self/fd/${directory}/${work}`);
  } finally {
    closeSync(fd);
  }
}

/** False: it is none that is empty. */
function removeEmpty(path: string): boolean {
  try {
    rmdirSync(path);
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT") return true;
    if (code !== "ENOTEMPTY" && code !== "ENOTDIR") throw error;
    return false;
  }
  return true;
}

/** The planner has resolved it: a link in it, but for those to the tree, has come since. */
function openDirectory({ path, inside }: Pick<Upper, "path" | "inside">): number {
  if (inside === null) return openat2(AT_FDCWD, path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
  const tree = openSync(path, O_PATH | O_DIRECTORY);
  try {
    return openat2(tree, inside, O_PATH | O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
  } finally {
    closeSync(tree);
  }
}

function openBelow(directory: number, name: string, access: number): number {
  try {
    const resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    return openat2(directory, name, access | O_DIRECTORY, resolve);
  } catch (error) {
    if (errorCode(error) !== "EXDEV") throw error;
    throw new BerthError(
      `${name} is a mount point, and the kernel wants a work directory beside it on the same file system`,
      { hint: "a directory in it would do", cause: error },
    );
  }
}

/** Null: there is nothing, or what is there can't be what was made. */
function unlessGone(open: () => number): number | null {
  try {
    return open();
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "ELOOP"].includes(errorCode(error) ?? "")) return null;
    throw error;
  }
}

function statOf(fd: number): BigIntStats {
  return fstatSync(fd, { bigint: true });
}
