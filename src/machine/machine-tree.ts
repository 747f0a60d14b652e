import { join } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import { InRoot, type TreeRoot } from "../host/in-root.ts";
import { type OpenTree, openTree } from "../host/open-tree.ts";
import { OS_RELEASE_PATHS, parseOsRelease } from "../host/os-release.ts";
import type { Paths } from "../host/paths.ts";
import { rootOf } from "../plan/pivot.ts";
import { hasOwnEtc } from "../plan/volatile.ts";
import { type MachineRecord, readPlan } from "./record.ts";

/** Bytes: more is none. */
const OS_RELEASE_MAX = 64 * 1024;

/**
 * Fields of a running machine's os-release; undefined: it has none that could be read. Read from the host's side: the
 * machine's own programs need not tell the truth about that, or anything at all.
 */
export function osReleaseOf(machine: MachineRecord, paths: Paths): Readonly<Record<string, string>> | undefined {
  try {
    using opened = openTree(machine.root);
    for (const root of rootsOf(machine, opened, paths)) {
      const text = readFirst(root);
      if (text !== undefined) return parseOsRelease(text);
    }
  } catch (error) {
    if (!(error instanceof BerthError)) throw error;
    // What keeps the tree was taken away while its machine runs.
  }
  return undefined;
}

/** The directories that the machine has as its root, laid over each other; of a machine without a plan, the tree. */
function rootsOf({ name, layer }: MachineRecord, { roots }: OpenTree, paths: Paths): readonly TreeRoot[] {
  try {
    const plan = readPlan(name, paths);
    const inside = rootOf(plan);
    const trees = roots.map((tree) => ({ tree, inside }));
    return layer === null || hasOwnEtc(plan) ? trees : [join(layer, "data"), ...trees];
  } catch (error) {
    if (error instanceof BerthError) return roots;
    throw error;
  }
}

function readFirst(root: TreeRoot): string | undefined {
  let tree: InRoot | undefined;
  try {
    tree = new InRoot(root);
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
