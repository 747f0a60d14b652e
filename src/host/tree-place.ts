import { existsSync } from "node:fs";
import { basename, join } from "node:path";

/**
 * How an image keeps its tree. Its name alone says so, which only the owner of the store can give it: nothing that is in
 * an image makes it one of another kind.
 */
export type TreeKind = "directory" | "stack";

/** Of a stack of layers, as systemd.mstack(7) has it. */
export const STACK_SUFFIX = ".mstack";

/** Behind the name of a machine, the first that is there counts. */
const SUFFIXES = ["", STACK_SUFFIX];

export function kindOfTree(path: string): TreeKind {
  return path.endsWith(STACK_SUFFIX) ? "stack" : "directory";
}

/** What the machine is called that has it for its tree, if nobody says anything else. */
export function nameOfTree(path: string): string {
  return basename(path, STACK_SUFFIX);
}

/** Where the tree of a machine is in a store. Null: it has none. */
export function findTree(machines: string, name: string): string | null {
  return places(machines, name).find((path) => existsSync(path)) ?? null;
}

/** The same, or where it would be. */
export function treeOf(machines: string, name: string): string {
  return findTree(machines, name) ?? join(machines, name);
}

function places(machines: string, name: string): readonly string[] {
  return SUFFIXES.map((suffix) => join(machines, `${name}${suffix}`));
}
