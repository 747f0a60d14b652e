import { BerthError, errorCode } from "../errors.ts";
import { InRoot, type TreeRoot } from "../host/in-root.ts";
import { OS_RELEASE_PATHS, parseOsRelease } from "../host/os-release.ts";
import type { Paths } from "../host/paths.ts";
import type { LaunchPlan } from "../plan/step.ts";
import { type MachineRecord, readPlan } from "./record.ts";
import { openRunningTree } from "./running-tree.ts";

/** Bytes: more is none. */
const OS_RELEASE_MAX = 64 * 1024;

/**
 * Fields of a running machine's os-release; undefined: it has none that could be read. Read from the host's side: the
 * machine's own programs need not tell the truth about that, or anything at all.
 */
export function osReleaseOf(machine: MachineRecord, paths: Paths): Readonly<Record<string, string>> | undefined {
  try {
    using tree = openRunningTree(machine, planOf(machine, paths));
    for (const root of tree.roots) {
      const text = readFirst(root, tree.ownMount);
      if (text !== undefined) return parseOsRelease(text);
    }
  } catch (error) {
    // What keeps the tree was taken away while its machine runs, or the machine has just ended.
    if (!(error instanceof BerthError) && errorCode(error) === undefined) throw error;
  }
  return undefined;
}

function planOf({ name }: MachineRecord, paths: Paths): LaunchPlan | null {
  try {
    return readPlan(name, paths);
  } catch (error) {
    if (error instanceof BerthError) return null;
    throw error;
  }
}

function readFirst(root: TreeRoot, ownMount: boolean): string | undefined {
  let tree: InRoot | undefined;
  try {
    tree = new InRoot(root, { ownMount });
    for (const path of OS_RELEASE_PATHS) {
      const text = tree.readFile(path, OS_RELEASE_MAX);
      if (text !== null) return text.toString("utf8");
    }
    return undefined;
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return undefined; // the tree was moved away while its machine runs
  } finally {
    tree?.close();
  }
}
