import { statfs } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";

/** ms. What writes 1 GB/s fills half a reserve in it. */
const INTERVAL = 100;
/** Bytes that are left to others; of a small file system a twentieth. */
const RESERVE = 2 ** 28;
const SHARE = 20;
/** Inodes alike, where they are counted. */
const INODES = 10_000;

/**
 * Runs `work`, and aborts it when less than a reserve of the file system of `directory` is left: what an archive unpacks to
 * is for whoever made it to say.
 * @throws BerthError then
 */
export async function guardSpace<T>(
  directory: string,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const full = new AbortController();
  const over = new AbortController();
  const either = AbortSignal.any([signal, full.signal]);
  const watching = watch(directory, full, over.signal);
  try {
    return await work(either);
  } catch (error) {
    throw full.signal.aborted && !signal.aborted ? full.signal.reason : error;
  } finally {
    over.abort();
    await watching;
  }
}

async function watch(directory: string, full: AbortController, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    const lacking = await whatLacks(directory).catch((error: Error) => `it can't be asked: ${error.message}`);
    if (lacking !== undefined) {
      full.abort(
        new BerthError(`stopped, as the file system of ${directory} is nearly full: ${lacking}`, {
          hint: "make room there; a part is always left to what runs already",
        }),
      );
      return;
    }
    await sleep(INTERVAL, undefined, { signal: over }).catch(() => undefined);
  }
}

async function whatLacks(directory: string): Promise<string | undefined> {
  const { bsize, blocks, bavail, files, ffree } = await statfs(directory);
  if (bavail * bsize < Math.min(RESERVE, (blocks * bsize) / SHARE))
    return `${Math.floor((bavail * bsize) / 1e6)} MB are left`;
  if (files > 0 && ffree < Math.min(INODES, files / SHARE)) return `room for ${ffree} files is left`;
  return undefined;
}
