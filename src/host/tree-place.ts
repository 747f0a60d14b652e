import { type Stats, statSync } from "node:fs";
import { basename, join } from "node:path";

/**
 * How an image keeps its tree. Its name and type alone say so, which only the owner of the store can give it: nothing
 * that is in an image makes it one of another kind.
 */
export type TreeKind = "directory" | "stack" | "disk";

/** Of a stack of layers, as systemd.mstack(7) has it. */
export const STACK_SUFFIX = ".mstack";

/** Of a disk image. */
export const DISK_SUFFIX = ".raw";

export function kindOfTree(path: string): TreeKind {
  if (path.endsWith(STACK_SUFFIX)) return "stack";
  return isDisk(path) ? "disk" : "directory";
}

/** A file, or a block device. */
export function isDisk(path: string): boolean {
  const stat = statOf(path);
  return stat?.isFile() === true || stat?.isBlockDevice() === true;
}

/** What the machine is called that has it for its tree, if nobody says anything else. */
export function nameOfTree(path: string): string {
  return basename(path, isDisk(path) ? DISK_SUFFIX : STACK_SUFFIX);
}

/** Where the tree of a machine is in a store, the first that is there. Null: it has none. */
export function findTree(machines: string, name: string): string | null {
  const at = (suffix: string): string => `${machines}/${name}${suffix}`;
  if (isDirectory(at(""))) return at("");
  if (isDirectory(at(STACK_SUFFIX))) return at(STACK_SUFFIX);
  // A machine may be called web.raw, and have a directory.
  return isDisk(at(DISK_SUFFIX)) ? at(DISK_SUFFIX) : null;
}

function isDirectory(path: string): boolean {
  return statOf(path)?.isDirectory() === true;
}

/** What can't be looked at is told of where it is used. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/** The same, or where it would be. */
export function treeOf(machines: string, name: string): string {
  return findTree(machines, name) ?? join(machines, name);
}
