import { statfs } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError, errorCode } from "../errors.ts";

/** ms. What writes 1 GB/s fills half a reserve in it. */
const INTERVAL = 100;
/** Bytes that are left to others; of a small file system a twentieth. */
const RESERVE = 2 ** 28;
const SHARE = 20;
/** Inodes alike, where they are counted. */
const INODES = 10_000;

/**
 * Runs `work`, and aborts it when less than a reserve of the file system of `directory` is left: what an archive unpacks to
 * is for whoever made it to say. `needed`: bytes, where that is known.
 * @throws BerthError then, and for what had no room
 */
export async function guardSpace<T>(
  directory: string,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
  needed: number | null = null,
): Promise<T> {
  const full = new AbortController();
  const over = new AbortController();
  const either = AbortSignal.any([signal, full.signal]);
  const watching = watch(directory, full, over.signal, needed);
  try {
    return await tellFull(directory, () => work(either), needed);
  } catch (error) {
    throw full.signal.aborted && !signal.aborted ? full.signal.reason : error;
  } finally {
    over.abort();
    await watching;
  }
}

/** What `work` throws of a full disk says where that is, how much there was, and what was needed. */
export async function tellFull<T>(directory: string, work: () => Promise<T>, needed: number | null = null): Promise<T> {
  const before = await statfs(directory).catch(() => null);
  return work().catch((error: unknown) => {
    const code = errorCode(error);
    if (code === undefined || !(code in FULL)) throw error;
    const free = before === null ? [] : [`${megabytes(before.bavail * before.bsize)} were free`];
    const numbers = [...(needed === null ? [] : [`${megabytes(needed)} are needed`]), ...free];
    const tail = numbers.length > 0 ? `; ${numbers.join(", ")}` : "";
    throw new BerthError(`the disk is full: no space left in ${placeOf(directory)} (${code})${tail}`, {
      hint: "make room there; nothing of it is left here",
      cause: error,
    });
  });
}

/** Errno, and how programs call it. Of the block that just did not fit as a whole tar(1) says so, and no errno. */
const FULL: Readonly<Record<string, RegExp>> = {
  EDQUOT: /Disk quota exceeded/,
  ENOSPC: /No space left on device|: Wrote only \d+ of \d+ bytes$/,
};

/** Of what a program said. For `tellFull`. */
export class NoSpaceLeft extends Error {
  readonly code: string;

  constructor(code: string, line: string) {
    super(line);
    this.code = code;
  }

  static in(lines: readonly string[]): NoSpaceLeft | undefined {
    for (const [code, text] of Object.entries(FULL)) {
      const line = lines.find((each) => text.test(each));
      if (line !== undefined) return new NoSpaceLeft(code, line);
    }
    return undefined;
  }
}

async function watch(
  directory: string,
  full: AbortController,
  over: AbortSignal,
  needed: number | null,
): Promise<void> {
  const more = needed === null ? "" : `; ${megabytes(needed)} are needed`;
  while (!over.aborted) {
    const lacking = await whatLacks(directory).catch((error: Error) => `it can't be asked: ${error.message}`);
    if (lacking !== undefined) {
      full.abort(
        new BerthError(`stopped, as the file system of ${placeOf(directory)} is nearly full: ${lacking}${more}`, {
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
  if (bavail * bsize < Math.min(RESERVE, (blocks * bsize) / SHARE)) return `${megabytes(bavail * bsize)} are left`;
  if (files > 0 && ffree < Math.min(INODES, files / SHARE)) return `room for ${ffree} files is left`;
  return undefined;
}

function megabytes(bytes: number): string {
  return `${Math.floor(bytes / 1e6)} MB`;
}

/** Without the hidden directories in which things are made. */
function placeOf(directory: string): string {
  return directory.replace(/\/\.berth-.*$/, "");
}
