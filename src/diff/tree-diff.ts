import { BerthError } from "../errors.ts";
import {
  attributesOf,
  type Entry,
  type EntryType,
  namesIn,
  openChild,
  openTop,
  sameContent,
  targetOf,
} from "./entry.ts";

/** What can differ in a file that is in both trees. */
export type Aspect = "type" | "mode" | "owner" | "size" | "content" | "target" | "device" | "attributes";

export interface Change {
  /** Absolute in the tree, a character a byte (latin1). */
  readonly path: string;
  readonly change: "added" | "removed" | "changed";
  /** What it is, or was. */
  readonly type: EntryType;
  readonly what: readonly Difference[];
}

export interface Difference {
  readonly aspect: Aspect;
  /** As text; null where there is too much to say. */
  readonly from: string | null;
  readonly to: string | null;
}

/** Directories that are open at a time: how deep a tree may be. */
const DEPTH_MAX = 4000;

/**
 * What differs in a tree from an earlier state of it, told in the order of paths. Contents are read only where sizes are equal and times
 * tell of a change. Times alone are no difference. @throws BerthError
 */
export function diffTrees(before: string, after: string, tell: (change: Change) => void): void {
  using one = openTop(before);
  using other = openTop(after);
  const what = compare(one, other);
  if (what.length > 0) tell({ path: "/", change: "changed", type: "directory", what });
  diffDirectories(one, other, "", 0);

  /** Either may be null: then all of the other is new, or gone. */
  function diffDirectories(old: Entry | null, now: Entry | null, path: string, depth: number): void {
    if (depth > DEPTH_MAX)
      throw new BerthError(`a tree is deeper than ${DEPTH_MAX} directories: ${path.slice(0, 80)}...`);
    const names = new Set([...(old === null ? [] : namesIn(old)), ...(now === null ? [] : namesIn(now))]);
    for (const name of [...names].sort()) {
      using was = old === null ? null : openChild(old, name);
      using is = now === null ? null : openChild(now, name);
      diffEntries(was, is, `${path}/${name}`, depth);
    }
  }

  function diffEntries(old: Entry | null, now: Entry | null, path: string, depth: number): void {
    if (old !== null && now !== null) {
      const differences = compare(old, now);
      if (differences.length > 0) tell({ path, change: "changed", type: now.type, what: differences });
    } else if (old !== null) tell({ path, change: "removed", type: old.type, what: [] });
    else if (now !== null) tell({ path, change: "added", type: now.type, what: [] });
    const [was, is] = [directory(old), directory(now)];
    if (was !== null || is !== null) diffDirectories(was, is, path, depth + 1);
  }
}

function directory(entry: Entry | null): Entry | null {
  return entry?.type === "directory" ? entry : null;
}

function compare(old: Entry, now: Entry): readonly Difference[] {
  if (old.type !== now.type) return [{ aspect: "type", from: old.type, to: now.type }];
  const differences: Difference[] = [];
  const differ = (aspect: Aspect, from: string, to: string): void => {
    if (from !== to) differences.push({ aspect, from, to });
  };
  if (old.type !== "symlink") differ("mode", modeOf(old), modeOf(now));
  differ("owner", ownerOf(old), ownerOf(now));
  if (old.type === "symlink") differ("target", targetOf(old), targetOf(now));
  if (old.type === "block" || old.type === "character") differ("device", `${old.stat.rdev}`, `${now.stat.rdev}`);
  if (old.type === "file") {
    differ("size", `${old.stat.size}`, `${now.stat.size}`);
    if (old.stat.size === now.stat.size && !isUntouched(old, now) && !sameContent(old, now))
      differences.push({ aspect: "content", from: null, to: null });
  }
  const [before, after] = [attributesOf(old), attributesOf(now)];
  for (const name of new Set([...before.keys(), ...after.keys()]))
    if (before.get(name) !== after.get(name)) differences.push({ aspect: "attributes", from: name, to: name });
  return differences;
}

/** Nobody sets a ctime: that of a copy is when it was made, and what is older has not been written to since. */
function isUntouched({ stat: old }: Entry, { stat: now }: Entry): boolean {
  return old.mtimeNs === now.mtimeNs && now.ctimeNs <= old.ctimeNs;
}

function modeOf({ stat }: Entry): string {
  return (Number(stat.mode) & 0o7777).toString(8).padStart(4, "0");
}

function ownerOf({ stat }: Entry): string {
  return `${stat.uid}:${stat.gid}`;
}
