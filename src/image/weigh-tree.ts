import { runCommand } from "../host/command.ts";

/** What copying a tree takes, about, in parts of what a small file takes. Paths begin below the tree, and are bytes as latin1. */
export interface TreeWeights {
  readonly entries: number;
  /** Of 512 bytes, on the disk. */
  readonly blocks: number;
  readonly total: number;
  /** Whether there are directories that their owner may not write to, search or list. */
  readonly hasShut: boolean;
  /** Of what is small, or too deep to be told of, 1. */
  of(path: string): number;
  /** It is no directory, something is mounted there, or the path leads deeper than is told of. */
  isClosed(path: string): boolean;
  /** Whether another file system begins there; of paths at most a name deeper than directories that are not closed. */
  isMount(path: string): boolean;
  /** Names that are one file each. */
  readonly links: readonly (readonly string[])[];
  readonly large: readonly LargeFile[];
}

export interface LargeFile {
  readonly path: string;
  /** Of 512 bytes, on the disk. */
  readonly blocks: number;
  readonly weight: number;
}

/** All that an owner may do. */
const OWNERS = 0o700;
/** Directories below that are not divided. */
const DEPTH = 4;
/** Blocks that take as long to copy as all else that a file needs: 64 kB. */
const BLOCKS = 128;
/** Of files that are told of one by one: 1 MB; and of those whose copying is watched, 16 MB. */
const HEAVY = 2048;
const LARGE = 32_768;
const LARGE_MAX = 256;
/** Of all paths that are kept in mind, and names of hard links among them: what has more is not weighed. */
const CHARACTERS_MAX = 4 << 20;
const LINKS_MAX = 20_000;

/**
 * By find(1), which goes through no link. Null: that can't be told here, or it is too much. The tree may change meanwhile: what is gone was not
 * to be copied.
 */
export async function weighTree(
  directory: string,
  signal: AbortSignal,
  oneFileSystem: boolean,
): Promise<TreeWeights | null> {
  const weights = new Weights();
  const enough = new AbortController();
  let rest = "";
  const options = {
    cwd: directory,
    signal: AbortSignal.any([signal, enough.signal]),
    onOutput: (chunk: Buffer): void => {
      const records = (rest + chunk.toString("latin1")).split("\0");
      rest = records.pop() ?? "";
      for (const record of records) weights.add(record);
      if (weights.areTooMany) enough.abort();
    },
  };
  const words = [".", ...(oneFileSystem ? ["-xdev"] : []), "-printf", "%y %m %n %D %i %b %P\\0"];
  try {
    const { status } = await runCommand("find", words, options);
    return /^ended with status [01]$/.test(status) ? weights.told() : null;
  } catch (error) {
    if (enough.signal.aborted && !signal.aborted) return null;
    throw error;
  }
}

const RECORD = /^(.) ([0-7]+) (\d+) (\d+) (\d+) (\d+) (.*)$/s;

class Weights {
  #entries = 0;
  #blocks = 0;
  #device: string | undefined;
  readonly #sums = new Map<string, number>();
  readonly #directories = new Set<string>([""]);
  readonly #mounts = new Set<string>();
  readonly #names = new Map<string, string[]>();
  #linked = 0;
  #hasShut = false;
  #characters = 0;
  readonly #large: LargeFile[] = [];

  get areTooMany(): boolean {
    return this.#linked > LINKS_MAX || this.#characters > CHARACTERS_MAX;
  }

  add(record: string): void {
    const [, type, mode = "", links, device = "", inode, count, path = ""] = RECORD.exec(record) ?? [];
    if (type === undefined || this.areTooMany) return;
    this.#entries++;
    this.#device ??= device;
    const blocks = Number(count);
    this.#blocks += blocks;
    if (type === "d") {
      if ((Number.parseInt(mode, 8) & OWNERS) !== OWNERS) this.#hasShut = true;
      this.#addDirectory(path, device);
    } else if (links !== "1") this.#addLink(path, `${device}:${inode}`);
    const weight = 1 + (type === "f" ? blocks / BLOCKS : 0);
    this.#addWeight(type === "d" || blocks >= HEAVY ? path : parentOf(path), weight);
    if (type === "f" && blocks >= LARGE && this.#large.length < LARGE_MAX) this.#large.push({ path, blocks, weight });
  }

  #addDirectory(path: string, device: string): void {
    const depth = depthOf(path);
    if (depth > DEPTH + 1) return;
    if (device !== this.#device) this.#mounts.add(path);
    else if (depth <= DEPTH) this.#directories.add(path);
    else return;
    this.#characters += path.length;
  }

  #addLink(path: string, key: string): void {
    this.#linked++;
    this.#characters += path.length;
    const names = this.#names.get(key);
    if (names === undefined) this.#names.set(key, [path]);
    else names.push(path);
  }

  /** To all that it is in. */
  #addWeight(path: string, weight: number): void {
    for (let at = ancestor(path); ; at = parentOf(at)) {
      const sum = this.#sums.get(at);
      if (sum === undefined) this.#characters += at.length;
      this.#sums.set(at, (sum ?? 0) + weight);
      if (at === "") return;
    }
  }

  /** Null: that is too much. */
  told(): TreeWeights | null {
    if (this.#entries === 0 || this.areTooMany) return null;
    const [sums, directories, mounts] = [this.#sums, this.#directories, this.#mounts];
    return {
      entries: this.#entries,
      blocks: this.#blocks,
      total: sums.get("") ?? 0,
      hasShut: this.#hasShut,
      of: (path) => sums.get(path) ?? 1,
      isClosed: (path) => !directories.has(path),
      isMount: (path) => mounts.has(path),
      links: [...this.#names.values()].filter((names) => names.length > 1),
      large: this.#large,
    };
  }
}

export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

function depthOf(path: string): number {
  if (path === "") return 0;
  let depth = 1;
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) depth++;
  return depth;
}

/** What is told of: the path itself, or a directory that it is in. */
function ancestor(path: string): string {
  let depth = 0;
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1))
    if (++depth > DEPTH) return path.slice(0, at);
  return path;
}
