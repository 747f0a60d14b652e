import { lstatSync, readdirSync, readlinkSync } from "node:fs";
import { posix } from "node:path";
import { errorCode } from "../errors.ts";
import type { JournalFacts } from "../plan/facts.ts";
import type { PlanPlaces } from "../plan/input.ts";
import { JOURNALS, journalLock, NO_JOURNAL } from "../plan/journal.ts";
import { isLocked } from "../sys/file-lock.ts";
import { InRoot } from "./in-root.ts";
import { readMounts } from "./mount-table.ts";

/**
 * What is in the place of the journal of a machine with this id, on the host and in its tree, where `inside` is for all.
 * If the machine itself runs, it is who has the lock of its journal.
 */
export function readJournalFacts(id: string, root: string, inside: string, places: PlanPlaces): JournalFacts {
  if (!isDirectory(JOURNALS)) return NO_JOURNAL; // most hosts: nothing more is asked then
  return {
    kept: true,
    entry: entryAt(`${JOURNALS}/${id}`),
    isPlainInTree: isPlainInTree(root, inside),
    usedBy: !isLocked(journalLock(places, id)) ? "nobody" : isLocked(places.lock) ? "itself" : "another",
  };
}

function entryAt(path: string): JournalFacts["entry"] {
  try {
    const stat = lstatSync(path);
    if (stat.isSymbolicLink()) return { type: "link", target: posix.resolve(posix.dirname(path), readlinkSync(path)) };
    if (!stat.isDirectory()) return { type: "other" };
    return {
      type: "directory",
      owner: stat.uid,
      isEmpty: isEmpty(path),
      isMountPoint: readMounts().some(({ point }) => point === path),
    };
  } catch (error) {
    return ["ENOENT", "ENOTDIR"].includes(errorCode(error) ?? "") ? { type: "missing" } : { type: "other" };
  }
}

function isDirectory(path: string): boolean {
  try {
    return lstatSync(path).isDirectory();
  } catch {
    return false;
  }
}

function isEmpty(path: string): boolean {
  try {
    return readdirSync(path).length === 0;
  } catch {
    return false;
  }
}

/** Whether a path of the host into the tree leads to the tree's own directory of journals, through no link of the tree's. */
function isPlainInTree(root: string, inside: string): boolean {
  try {
    const tree = new InRoot(root);
    try {
      return tree.isPlain(inside);
    } finally {
      tree.close();
    }
  } catch {
    return false;
  }
}
