import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import { measureTree } from "./measure-tree.ts";

/** ms between two looks at how much room there is. */
const LOOK = 200;
/** Bytes and inodes that a copy may take beyond what its tree does; of a full file system a part of what is free. */
const SPARE_BYTES = 256 << 20;
const SPARE_INODES = 100_000;
const SHARE = 4;
const BLOCK = 512;

interface Amounts {
  readonly bytes: number;
  readonly inodes: number;
}

/**
 * Ends a copy that becomes much larger than its tree. What runs from a tree can have the same files copied again and again, in
 * directories that it moves to where they have not been copied yet, or fill the holes of a file as quickly as it is copied, until the disk is full. What is looked at is how much room
 * the file system has, which others may have taken: only when it is suspicious tree and copy are measured.
 */
export class CopyBound implements AsyncDisposable {
  readonly #from: string;
  readonly #to: string;
  readonly #oneFileSystem: boolean;
  readonly #ended = new AbortController();
  readonly #over = new AbortController();
  readonly #watching: Promise<void>;

  constructor(from: string, to: string, oneFileSystem = false) {
    this.#from = from;
    this.#to = to;
    this.#oneFileSystem = oneFileSystem;
    this.#watching = this.#watch();
  }

  /** Aborts when it is too much. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  async #watch(): Promise<void> {
    const directory = dirname(this.#to);
    const start = await freeOn(directory);
    if (start === null) return;
    const spare = spareOf(start);
    let expected: Amounts = { bytes: 0, inodes: 0 };
    while (await this.#pause()) {
      const now = await freeOn(directory);
      if (now === null) return;
      const taken = { bytes: start.bytes - now.bytes, inodes: start.inodes - now.inodes };
      if (!exceeds(taken, sum(expected, spare))) continue;
      const [first, copy] = [await this.#measureTree(), await this.#measure(this.#to)];
      expected = largest(taken, first ?? taken);
      if (first === null || copy === null || !exceeds(copy, sum(twice(first), spare))) continue;
      // A directory that was moved while the tree was measured may have been missed: not twice, unless it is moved all the while.
      const tree = largest(first, (await this.#measureTree()) ?? copy);
      if (!exceeds(copy, sum(twice(tree), spare))) continue;
      this.#ended.abort(this.#error(copy, tree));
      return;
    }
  }

  /** False: it is over. */
  async #pause(): Promise<boolean> {
    await sleep(LOOK, undefined, { signal: this.#over.signal, ref: false }).catch(() => undefined);
    return !this.#over.signal.aborted;
  }

  #measureTree(): Promise<Amounts | null> {
    return this.#measure(this.#from, this.#oneFileSystem);
  }

  /** What is there now. Null: that can't be told. */
  async #measure(directory: string, oneFileSystem = false): Promise<Amounts | null> {
    const size = await measureTree(directory, this.#over.signal, oneFileSystem).catch(() => null);
    return size === null ? null : { bytes: size.blocks * BLOCK, inodes: size.inodes };
  }

  #error(copy: Amounts, tree: Amounts): BerthError {
    const isLarge = copy.bytes > 2 * tree.bytes;
    const [is, was] = isLarge
      ? [`${megabytes(copy)} MB`, `${megabytes(tree)} MB`]
      : [`${Math.round(copy.inodes)} files`, `${Math.round(tree.inodes)}`];
    return new BerthError(
      `cannot copy the tree ${this.#from}: the copy became much larger, ${is} where it has ${was}`,
      {
        hint: "what runs from it moves directories about, or writes as quickly as it is copied: stop it before",
      },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    await this.#watching;
  }
}

/** Null: it can't be told. */
function freeOn(directory: string): Promise<Amounts | null> {
  return statfs(directory).then(
    ({ bsize, bfree, ffree }) => ({ bytes: bfree * bsize, inodes: ffree }),
    () => null,
  );
}

function spareOf({ bytes, inodes }: Amounts): Amounts {
  return { bytes: Math.min(SPARE_BYTES, bytes / SHARE), inodes: Math.min(SPARE_INODES, inodes / SHARE) };
}

function exceeds(one: Amounts, other: Amounts): boolean {
  return one.bytes > other.bytes || one.inodes > other.inodes;
}

function sum(one: Amounts, other: Amounts): Amounts {
  return { bytes: one.bytes + other.bytes, inodes: one.inodes + other.inodes };
}

function largest(one: Amounts, other: Amounts): Amounts {
  return { bytes: Math.max(one.bytes, other.bytes), inodes: Math.max(one.inodes, other.inodes) };
}

function twice({ bytes, inodes }: Amounts): Amounts {
  return { bytes: 2 * bytes, inodes: 2 * inodes };
}

function megabytes({ bytes }: Amounts): number {
  return Math.round(bytes / 1e6);
}
