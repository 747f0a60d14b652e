import { lstat } from "node:fs/promises";
import { isLocalAt } from "./file-systems.ts";
import { measureTree, type TreeSize } from "./measure-tree.ts";

/** How far a copy is, 0 to 1; only grows. */
export type OnCopied = (fraction: number) => void;

/** ms between two looks at how far it is. */
const LOOK = 200;
/** Until all of it is there. */
const NEARLY = 0.99;
/** Blocks of 512 bytes that take as long to copy as all else that an entry needs: 64 kB. */
const BLOCKS = 128;

class Shown {
  readonly #tell: OnCopied;
  #told = 0;

  constructor(tell: OnCopied) {
    this.#tell = tell;
  }

  advance(fraction: number): void {
    if (!(fraction > this.#told)) return;
    this.#told = fraction;
    this.#tell(fraction);
  }
}

/** Of a tree, which is measured while it is copied. */
export class TreeProgress implements AsyncDisposable {
  readonly #shown: Shown;
  readonly #over = new AbortController();
  readonly #measuring: Promise<void>;
  #size: TreeSize | null = null;

  constructor(from: string, oneFileSystem: boolean, tell: OnCopied) {
    this.#shown = new Shown(tell);
    this.#measuring = this.#measure(from, oneFileSystem).catch(() => undefined);
  }

  async #measure(from: string, oneFileSystem: boolean): Promise<void> {
    if (await isLocalAt(from)) this.#size = await measureTree(from, this.#over.signal, oneFileSystem);
  }

  /** What has been copied. */
  take(entries: number, blocks: number): void {
    const size = this.#size;
    if (size === null) return;
    this.#shown.advance(Math.min(NEARLY, weightOf({ entries, blocks }) / Math.max(1, weightOf(size))));
  }

  end(): void {
    this.#shown.advance(1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    await this.#measuring;
  }
}

function weightOf({ entries, blocks }: Pick<TreeSize, "entries" | "blocks">): number {
  return entries + blocks / BLOCKS;
}

/** Of a file, by how much of it is there. */
export class FileProgress implements Disposable {
  readonly #shown: Shown;
  readonly #timer: NodeJS.Timeout;

  /** `blocks`: of 512 bytes, that it has when it is whole. */
  constructor(to: string, blocks: number, tell: OnCopied) {
    this.#shown = new Shown(tell);
    const look = (): Promise<void> =>
      lstat(to).then(
        (stat) => this.#shown.advance(Math.min(NEARLY, stat.blocks / Math.max(1, blocks))),
        () => undefined,
      );
    this.#timer = setInterval(() => void look(), LOOK).unref();
  }

  end(): void {
    this.#shown.advance(1);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
