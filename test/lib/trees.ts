/**
 * Real distribution trees for tests, made by our own bootstrap on first use and kept in test/.cache/berth, which every
 * test and every run shares. For everything that needs no distribution there is the probe (probe.ts).
 *
 *   const tree = await debianTree("trixie");   // a path; read it, copy it, put an overlay on it: never write to it
 *
 * Needs root, mmdebstrap and, the first time and every two weeks, the network and some 20 s.
 */
import { fileURLToPath } from "node:url";
import { cachedTree } from "../../src/bootstrap/bootstrap.ts";
import { findPaths, type Paths } from "../../src/host/paths.ts";

const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));

/** BERTH_CACHE of the whole test suite. */
export const TEST_CACHE = fileURLToPath(new URL("../.cache/berth", import.meta.url));

/** The recipes of this checkout and the shared cache; everything else below `root`. */
export function testPaths(root: string): Paths {
  return findPaths({ BERTH_CACHE: TEST_CACHE }, REPOSITORY, root);
}

export async function debianTree(release: "bookworm" | "trixie" | "sid"): Promise<string> {
  const { path } = await cachedTree({
    recipe: "debian",
    release,
    paths: testPaths("/nonexistent"),
    signal: new AbortController().signal,
    onProgress: () => {},
  });
  return path;
}
