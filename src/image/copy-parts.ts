import { chmodSync, closeSync, fstatSync, mkdirSync, openSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename } from "node:path";
import { errorCode } from "../errors.ts";
import { type FileTimes, makeDirectory, openBelow, setTimes } from "../sys/entries.ts";
import { O_DIRECTORY } from "../sys/files.ts";
import { changeOwner, getAttribute, listAttributes, setAttribute } from "../sys/owners.ts";
import { parentOf, type TreeWeights } from "./weigh-tree.ts";

/** What has to be copied by one cp(1): an entry of a directory that is divided, or several that hard links lead between. */
interface Item {
  readonly names: string[];
  weight: number;
}

/** Entries of a directory that is divided: in a larger one, whoever makes files waits for the other ones anyway. */
const ENTRIES_MAX = 2000;
/** Bytes of the arguments of one cp(1): 128 kB may be passed whatever the limits, and two of them would make two files of a hard link. */
const LIST_MAX = 96 << 10;
/** Of the whole, for one cp(1), what is not divided further is at most this. */
const PIECE = 0.25;
const PRIVATE = 0o700;

/** A directory that is divided, open on both sides. */
interface Divided {
  readonly source: number;
  readonly name: Buffer;
  readonly parent: Divided | null;
  target: number;
}

/**
 * A tree in parts that take about as long as each other. The directories that these lie in are made here and stay open on both
 * sides, so that one that is renamed or replaced meanwhile leads nowhere else; all else is for cp(1).
 */
export class DividedTree implements Disposable {
  readonly hasShut: boolean;
  /** Names for each cp(1), by its view. */
  parts: readonly (readonly Buffer[])[] = [];
  readonly #weights: TreeWeights;
  readonly #limit: number;
  readonly #opened: number[] = [];
  readonly #items = new Map<string, Item>();
  /** Each after the one that it is in. */
  readonly #directories: Divided[] = [];
  #attributes: readonly (readonly [target: number, Attributes])[] = [];

  private constructor(weights: TreeWeights, limit: number) {
    this.#weights = weights;
    this.hasShut = weights.hasShut;
    this.#limit = limit;
  }

  /** Makes `to`, which may also be there and empty, and directories in it. Null: it has to stay in one piece. */
  static async of(from: string, to: string, weights: TreeWeights, count: number): Promise<DividedTree | null> {
    using stack = new DisposableStack();
    const tree = stack.use(new DividedTree(weights, (weights.total / count) * PIECE));
    const source = tree.#keep(openSync(from, O_DIRECTORY));
    const names = await divisibleNames(source);
    if (names === null) return null;
    await tree.#divide({ source, name: Buffer.alloc(0), parent: null, target: -1 }, "", names);
    // Of a mount that is named to it cp(1) takes what is in there, --one-file-system or not.
    if ([...tree.#items.keys()].some((path) => weights.isMount(path))) return null;
    const at = Buffer.from(`/${basename(to)}/`).toString("latin1");
    tree.parts = distribute(joined(tree.#items, weights.links), count, at);
    if (tree.parts.some((names) => names.length === 0 || sizeOf(names) > LIST_MAX)) return null;
    tree.#make(to);
    stack.move();
    return tree;
  }

  async #divide(directory: Divided, path: string, names: readonly string[]): Promise<void> {
    this.#directories.push(directory);
    for (const name of names) {
      const inner = path === "" ? name : `${path}/${name}`;
      const weight = this.#weights.of(inner);
      if (weight > this.#limit && (await this.#enter(directory, name, inner))) continue;
      this.#items.set(inner, { names: [inner], weight });
    }
  }

  /** False: it is no directory (any more), or has to stay in one piece. */
  async #enter(parent: Divided, text: string, path: string): Promise<boolean> {
    if (this.#weights.isClosed(path)) return false;
    const name = Buffer.from(text, "latin1");
    const source = openDirectory(parent.source, name);
    if (source === null) return false;
    const names = await divisibleNames(this.#keep(source));
    if (names === null) return false;
    await this.#divide({ source, name, parent, target: -1 }, path, names);
    return true;
  }

  #make(to: string): void {
    makeRoot(to);
    for (const directory of this.#directories) {
      const { parent, name } = directory;
      if (parent !== null) makeDirectory(parent.target, name, PRIVATE);
      const fd = parent === null ? openSync(to, O_DIRECTORY) : openBelow(parent.target, name, O_DIRECTORY);
      directory.target = this.#keep(fd);
    }
    this.#attributes = this.#directories.map(({ source, target }) => [target, readAttributes(source)]);
  }

  /** Gives the directories what they have besides entries: when all of those are there. */
  finish(): void {
    for (const [target, attributes] of this.#attributes.toReversed()) setAttributes(target, attributes);
  }

  #keep(fd: number): number {
    this.#opened.push(fd);
    return fd;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#opened.splice(0)) closeSync(fd);
  }
}

function makeRoot(to: string): void {
  try {
    mkdirSync(to, PRIVATE);
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
  }
}

function openDirectory(parent: number, name: Buffer): number | null {
  try {
    return openBelow(parent, name, O_DIRECTORY);
  } catch (error) {
    if (["ENOTDIR", "ENOENT", "ELOOP"].includes(errorCode(error) ?? "")) return null;
    throw error;
  }
}

/** Null: there are too many of them. */
async function divisibleNames(fd: number): Promise<readonly string[] | null> {
  const names = await readdir(`/proc/self/fd/${fd}`, { encoding: "latin1" });
  return names.length > ENTRIES_MAX ? null : names;
}

/** Items that hard links lead between are one. */
function joined(items: ReadonlyMap<string, Item>, links: TreeWeights["links"]): readonly Item[] {
  const of = new Map(items);
  for (const names of links) {
    const [first, ...others] = new Set(names.flatMap((name) => itemOf(name, of) ?? []));
    if (first === undefined) continue;
    for (const other of others) {
      first.weight += other.weight;
      first.names.push(...other.names);
      for (const name of other.names) of.set(name, first);
    }
  }
  return [...new Set(of.values())];
}

function itemOf(path: string, items: ReadonlyMap<string, Item>): Item | undefined {
  for (let at = path; at !== ""; at = parentOf(at)) {
    const item = items.get(at);
    if (item !== undefined) return item;
  }
  return undefined;
}

/** The heaviest first, each to whoever has least until then. `at`: what leads to the tree. */
function distribute(items: readonly Item[], count: number, at: string): readonly (readonly Buffer[])[] {
  const parts = Array.from({ length: count }, () => ({ weight: 0, names: [] as string[] }));
  for (const { weight, names } of items.toSorted((one, other) => other.weight - one.weight)) {
    const part = parts.reduce((least, each) => (each.weight < least.weight ? each : least));
    part.weight += weight;
    part.names.push(...names);
  }
  return parts.map(({ names }) => names.map((name) => Buffer.from(`${at}${name}`, "latin1")));
}

/** As arguments, with the zero at their ends and the pointers to them. */
function sizeOf(names: readonly Buffer[]): number {
  return names.reduce((sum, { length }) => sum + length + 1 + 8, 0);
}

interface Attributes {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly times: FileTimes;
  readonly extended: readonly (readonly [name: string, value: Buffer])[];
}

function readAttributes(fd: number): Attributes {
  const { uid, gid, mode, atimeNs, mtimeNs } = fstatSync(fd, { bigint: true });
  const extended = listAttributes(fd).flatMap((name) => {
    const value = getAttribute(fd, name);
    return value === null ? [] : [[name, value] as const];
  });
  return { uid: Number(uid), gid: Number(gid), mode: Number(mode) & 0o7777, times: { atimeNs, mtimeNs }, extended };
}

function setAttributes(fd: number, { uid, gid, mode, times, extended }: Attributes): void {
  changeOwner(fd, uid, gid);
  chmodSync(`/proc/self/fd/${fd}`, mode);
  // Where this file system has none of a kind they are left out, as by cp(1).
  for (const [name, value] of extended) setAttribute(fd, name, value);
  setTimes(fd, times);
}
