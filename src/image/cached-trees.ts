import { join } from "node:path";
import { exists, sweepWorkspaces } from "./workspace.ts";

/** Where bootstrapped trees are kept, below Paths.cache. */
export function cachedTrees(cache: string): string {
  return join(cache, "trees");
}

/** Removes what those left who were killed while they built one. `onSwept`: hears what has gone. */
export async function sweepCachedTrees(cache: string, onSwept?: (name: string) => void): Promise<void> {
  const trees = cachedTrees(cache);
  if (await exists(trees)) await sweepWorkspaces(trees, onSwept);
}
