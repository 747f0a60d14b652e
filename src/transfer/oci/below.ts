import { closeSync } from "node:fs";
import { errorCode } from "../../errors.ts";
import { O_PATH } from "../../sys/constants.ts";
import { entriesOf, openBelow } from "../../sys/entries.ts";
import { O_DIRECTORY } from "../../sys/files.ts";
import { getAttribute } from "../../sys/owners.ts";

/** An attribute of a directory: layers below it show nothing in it. */
export const OPAQUE = "user.overlay.opaque";
const SLASH = 0x2f;
const HERE = Buffer.from(".");
const ROOT = Buffer.alloc(0);

/** Lets others have their turn, if it is time for that. */
export type Pause = () => Promise<void>;

interface Way {
  readonly path: Buffer;
  /** How many layers, from the topmost, show what they have in it. */
  readonly shown: number;
}

/**
 * What lies below a layer, as overlayfs shows it through that one: of the layers below those that have a path do, unless one above
 * has something else in the place of a directory on the way to it, or an opaque one.
 */
export class LayersBelow {
  /** Fds: the layer itself, and those below it, topmost first. */
  readonly #layers: readonly number[];
  readonly #pause: Pause;
  /** Directories on the way to the last path, outermost first: the next one is mostly near. */
  readonly #ways: Way[] = [];
  #shownInRoot: number;

  constructor(own: number, below: readonly number[], pause: Pause) {
    this.#layers = [own, ...below];
    this.#shownInRoot = this.#layers.length;
    this.#pause = pause;
  }

  /** An O_PATH fd of what is there, which may be a whiteout. Null: nothing. */
  async open(path: Buffer): Promise<number | null> {
    await this.#pause();
    const shown = path.length === 0 ? this.#layers.length : await this.#shownIn(parentOf(path));
    for (const layer of this.#layers.slice(1, shown)) {
      const found = openPart(layer, path, O_PATH);
      if (found !== "nothing") return found === "other" ? null : found;
      await this.#pause();
    }
    return null;
  }

  /** What the layers have in their roots, some of it more than once. */
  *namesInRoot(): Generator<Buffer> {
    for (const layer of this.#layers.slice(1)) {
      const root = openBelow(layer, HERE, O_DIRECTORY);
      try {
        yield* entriesOf(root);
      } finally {
        closeSync(root);
      }
    }
  }

  /** From now on nothing is there but the root. */
  hideAll(): void {
    this.#shownInRoot = 1;
    this.#ways.length = 0;
  }

  async #shownIn(directory: Buffer): Promise<number> {
    const ways = this.#ways;
    for (let last = ways.at(-1); last !== undefined && !isIn(directory, last.path); last = ways.at(-1)) ways.pop();
    let { path, shown } = ways.at(-1) ?? { path: ROOT, shown: this.#shownInRoot };
    while (path.length < directory.length) {
      const end = directory.indexOf(SLASH, path.length + 1);
      path = end < 0 ? directory : directory.subarray(0, end);
      shown = this.#shownThrough(path, shown);
      ways.push({ path, shown });
      await this.#pause();
    }
    return shown;
  }

  /** Of so many layers those that are shown in a directory of theirs. */
  #shownThrough(path: Buffer, shown: number): number {
    for (const [index, layer] of this.#layers.slice(0, shown).entries()) {
      const directory = openPart(layer, path, O_PATH | O_DIRECTORY);
      if (directory === "nothing") continue;
      if (directory === "other") return index;
      try {
        if (getAttribute(directory, OPAQUE) !== null) return index + 1;
      } finally {
        closeSync(directory);
      }
    }
    return shown;
  }
}

export function parentOf(path: Buffer): Buffer {
  return path.subarray(0, Math.max(0, path.lastIndexOf(SLASH)));
}

/** Or is that. */
function isIn(path: Buffer, directory: Buffer): boolean {
  return (
    path.subarray(0, directory.length).equals(directory) &&
    (path.length === directory.length || path[directory.length] === SLASH)
  );
}

/** `other`: there is something, but not that. */
function openPart(directory: number, path: Buffer, flags: number): number | "nothing" | "other" {
  try {
    return openBelow(directory, path.length === 0 ? HERE : path, flags);
  } catch (error) {
    const code = errorCode(error) ?? "";
    if (code === "ENOENT") return "nothing";
    if (["ENOTDIR", "ELOOP", "EXDEV"].includes(code)) return "other";
    throw error;
  }
}
