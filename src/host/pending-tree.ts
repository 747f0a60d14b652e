import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { O_PATH } from "../sys/constants.ts";
import { SysError } from "../sys/errno.ts";
import { getAttribute, removeAttribute, setAttribute } from "../sys/owners.ts";
import { bootId } from "./boot-id.ts";

/**
 * A tree that appears in the store before all of it is on the disk is marked at its top, with the host's boot: it is *pending*. The mark
 * comes to the disk before the name, so a power cut leaves no such name, or one whose tree says that it is of a boot that is over.
 * That one is *lost*, as anything may be missing in it: it is no image any more, and goes when somebody says so, for the mark may have outlived
 * its reason: where what was to take it away was killed, and never started again before the host's next boot.
 *
 * The mark is for the host alone (xattr(7): trusted.* needs its CAP_SYS_ADMIN), and says which inode it is about, as who copies
 * a tree by hand copies its attributes.
 */
const MARK = "trusted.berth.pending";

/** False: its file system has no such marks, or this process may not set them. */
export function markPending(tree: number): boolean {
  try {
    return setAttribute(tree, MARK, Buffer.from(`${bootId()} ${fstatSync(tree).ino}`));
  } catch (error) {
    if (error instanceof SysError) return false;
    throw error;
  }
}

/** All of it is on the disk. By an fd, wherever the tree is by now. */
export function clearPending(tree: number): void {
  if (getAttribute(tree, MARK) !== null) removeAttribute(tree, MARK);
}

/** Another tree's mark, which a copy has got with all else of it: it would be this one's as soon as a copy of this gets the other's inode. */
export function forgetMark(path: string): void {
  const fd = openTop(path);
  if (fd === null) return;
  try {
    clearPending(fd);
  } finally {
    closeSync(fd);
  }
}

export function isPending(path: string): boolean {
  return bootOf(path) !== null;
}

export function isLost(path: string): boolean {
  const boot = bootOf(path);
  return boot !== null && boot !== bootId();
}

/** The same of a tree that is open. */
export function isMarked(tree: number): boolean {
  return bootAt(tree) !== null;
}

/** Null: it is not marked, or no directory: a link is to an image elsewhere, which nobody here has made. */
function bootOf(path: string): string | null {
  const fd = openTop(path);
  if (fd === null) return null;
  try {
    return bootAt(fd);
  } finally {
    closeSync(fd);
  }
}

function bootAt(tree: number): string | null {
  const [boot = "", inode] = getAttribute(tree, MARK)?.toString().split(" ") ?? [];
  return inode === `${fstatSync(tree).ino}` ? boot : null;
}

function openTop(path: string): number | null {
  try {
    return openSync(path, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch {
    return null;
  }
}
