import { closeSync, lstatSync, openSync, type Stats } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { DT_CHR, DT_DIR, DT_REG, DT_UNKNOWN, type TypedEntry, typedEntriesOf } from "../sys/entries.ts";
import { O_DIRECTORY } from "../sys/files.ts";
import { listAttributes, listEntryAttributes } from "../sys/owners.ts";
import { openDirectory } from "./follow/directories.ts";

/** Entries that are looked at before others get their turn. */
const AT_ONCE = 200;
/** With `userxattr` (overlayfs.rst of the kernel): opaque, whiteout, redirect, metacopy and more. */
const ATTRIBUTES = "user.overlay.";
const SLASH = Buffer.from("/");

/**
 * The first thing in a tree that overlayfs would take for a mark of its own, were the tree a layer, and not show: containers that
 * run in a machine leave character devices 0:0 and such attributes. Its path in the tree; null: there is none.
 * What comes meanwhile may be missed. @throws SysError, ENAMETOOLONG where a path to it is too long
 */
export async function findOverlayMark(tree: string): Promise<Buffer | null> {
  const root = openSync(tree, O_DIRECTORY);
  try {
    if (listAttributes(root).some(isMark)) return Buffer.from(".");
    const left = [Buffer.from(".")];
    let seen = 0;
    for (let path = left.pop(); path !== undefined; path = left.pop())
      for (const mark of look(root, path, left)) {
        if (mark !== null) return mark;
        if (++seen % AT_ONCE === 0) await turn();
      }
    return null;
  } finally {
    closeSync(root);
  }
}

/** For each entry of a directory null, or its path if it is a mark; directories are added to `left`. */
function* look(root: number, path: Buffer, left: Buffer[]): Generator<Buffer | null> {
  const directory = openDirectory(root, path);
  if (directory === null) return;
  try {
    for (const entry of typedEntriesOf(directory)) {
      const type = entry.type === DT_UNKNOWN ? typeOf(directory, entry) : entry.type;
      if (type === DT_DIR) left.push(Buffer.concat([path, SLASH, entry.name]));
      const isMarked =
        type === DT_CHR
          ? statOf(directory, entry)?.rdev === 0
          : (type === DT_DIR || type === DT_REG) && listEntryAttributes(directory, entry.name).some(isMark);
      yield isMarked ? Buffer.concat([path, SLASH, entry.name]) : null;
    }
  } finally {
    closeSync(directory);
  }
}

function isMark(attribute: string): boolean {
  return attribute.startsWith(ATTRIBUTES);
}

function statOf(directory: number, { name }: TypedEntry): Stats | undefined {
  const path = Buffer.concat([Buffer.from(`/proc/self/fd/${directory}/`), name]);
  return lstatSync(path, { throwIfNoEntry: false });
}

function typeOf(directory: number, entry: TypedEntry): number {
  const stat = statOf(directory, entry);
  if (stat?.isCharacterDevice()) return DT_CHR;
  if (stat?.isDirectory()) return DT_DIR;
  return stat?.isFile() ? DT_REG : DT_UNKNOWN;
}
