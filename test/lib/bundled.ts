/**
 * A program of the tests as one file, which starts in a fourth of the time that it takes from its sources:
 *
 *   spawn(process.execPath, [bundled("berthd-killed-at"), "7"])       // of test/lib/berthd-killed-at.ts
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";

const CACHE = join(import.meta.dirname, "../.cache");
const ESBUILD = join(import.meta.dirname, `../../node_modules/@esbuild/linux-${process.arch}/bin/esbuild`);
const PATHS = new Map<string, string>();

/** As deep in the checkout as its source, since it finds the checkout from where it is. Made once a test file. */
export function bundled(program: string): string {
  const known = PATHS.get(program);
  if (known !== undefined) return known;
  const path = join(CACHE, `${program}.mjs`);
  const own = `${path}.${crypto.randomUUID()}`;
  mkdirSync(CACHE, { recursive: true });
  // Not by its library, which leaves a service running.
  const options = ["--bundle", "--platform=node", "--format=esm", "--target=node24", "--packages=external"];
  execFileSync(ESBUILD, [
    join(import.meta.dirname, `${program}.ts`),
    `--outfile=${own}`,
    "--log-level=error",
    ...options,
  ]);
  // Another file's test may run it at this moment.
  renameSync(own, path);
  PATHS.set(program, path);
  return path;
}
