import { lstat } from "node:fs/promises";
import type { TreeWeights } from "./weigh-tree.ts";

/** ms between two looks at how far it is. */
const LOOK = 200;
/** Until all of it is there: what has begun counts as done, a line early. */
const NEARLY = 0.99;
const NEWLINE = 10;

type Expected = Pick<TreeWeights, "entries" | "total" | "large">;

/** How far a copy is, 0 to 1, by the lines that cp(1) prints and the sizes that large files have already. Only grows. */
export class CopyProgress implements Disposable {
  readonly #to: string;
  readonly #tell: ((fraction: number) => void) | undefined;
  readonly #timer: NodeJS.Timeout | undefined;
  #weights: Expected | null = null;
  #begun = 0;
  #told = 0;

  /** `tell`: nobody may want to know. */
  constructor(to: string, tell: ((fraction: number) => void) | undefined) {
    this.#to = to;
    this.#tell = tell;
    if (tell !== undefined) this.#timer = setInterval(() => void this.#look(), LOOK).unref();
  }

  /** What there is to do, once that is known. */
  expect(weights: Expected | null): void {
    this.#weights = weights;
  }

  /** The same of a single file, at `to`. */
  expectFile(blocks: number): void {
    const weight = Math.max(1, blocks);
    this.expect({ entries: 1, total: weight, large: [{ path: "", blocks: weight, weight }] });
    this.#begun = 1;
  }

  /** What cp(1) prints: a line for each file. */
  take(printed: Buffer): void {
    for (let at = printed.indexOf(NEWLINE); at >= 0; at = printed.indexOf(NEWLINE, at + 1)) this.#begun++;
  }

  end(): void {
    this.#advance(1);
  }

  async #look(): Promise<void> {
    if (this.#weights === null || this.#begun === 0) return;
    const { entries, total, large } = this.#weights;
    let [watched, done] = [0, 0];
    for (const { path, blocks, weight } of large) {
      watched += weight;
      done += weight * Math.min(1, (await this.#blocksOf(path)) / blocks);
    }
    done += Math.max(0, total - watched) * Math.min(1, this.#begun / entries);
    this.#advance(Math.min(NEARLY, done / total));
  }

  async #blocksOf(path: string): Promise<number> {
    const to = Buffer.from(this.#to);
    const place = path === "" ? to : Buffer.concat([to, Buffer.from(`/${path}`, "latin1")]);
    return lstat(place).then(
      (stat) => stat.blocks,
      () => 0,
    );
  }

  #advance(fraction: number): void {
    if (fraction <= this.#told) return;
    this.#told = fraction;
    this.#tell?.(fraction);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
