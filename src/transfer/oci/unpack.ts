import { closeSync, openSync } from "node:fs";
import { mkdir, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openArchiveFile } from "../archive-input.ts";
import { extractArchive } from "../extract.ts";
import type { Control } from "../transfer.ts";
import { strikeListed } from "./listing.ts";
import { findNames } from "./names.ts";

/** s that the clock may be set back meanwhile. The more, the more directories of a layer that was made just now are looked for in its listing. */
const SET_BACK = 3600;

/**
 * Unpacks a layer into `layer` in a directory. Returns its ways: directories that it has only as ways to what is in them, which tar(1)
 * makes by itself, root's and with mode 0755; the root is an empty path. @throws BerthError for what is no layer
 */
export async function unpackLayer(path: string, directory: string, control: Control): Promise<readonly Buffer[]> {
  const { signal, log } = control;
  const listing = join(directory, "listing");
  const layer = join(directory, "layer");
  await mkdir(layer, { mode: 0o755 });
  await stamp(join(directory, "begun"));
  using archive = openArchiveFile(path);
  using streams = new DisposableStack();
  const names = streams.adopt(openSync(listing, "w+", 0o600), closeSync);
  const input = await archive.input(signal);
  await extractArchive(input, layer, { signal, onLine: (line) => log(line), mayBeEmpty: true, listing: names });
  const ways = await findWays(directory, listing, signal);
  await rm(listing);
  return ways;
}

async function stamp(path: string): Promise<void> {
  await writeFile(path, "");
  const time = Date.now() / 1000 - SET_BACK;
  await utimes(path, time, time);
}

/** What tar(1) has made now, of which most is none that the layer has: the listing, which may be long, is gone through once for them. */
async function findWays(directory: string, listing: string, signal: AbortSignal): Promise<readonly Buffer[]> {
  const made = await findNames(directory, ["-type", "d", "-newer", "begun"], signal);
  if (made.length === 0) return [];
  const ways = new Map(made.map((path) => [path.toString("latin1"), path]));
  await strikeListed(listing, ways, signal);
  return [...ways.values()];
}
