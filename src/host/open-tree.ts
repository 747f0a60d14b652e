import { closeSync, openSync } from "node:fs";
import { basename, dirname } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import type { FileSystemFacts, StorageFacts } from "../plan/facts.ts";
import { suggest } from "../spec/nearest.ts";
import { visible } from "../spec/quote.ts";
import { O_PATH } from "../sys/constants.ts";
import { closeQuietly, O_DIRECTORY } from "../sys/files.ts";
import { mountLayers } from "../sys/mounts.ts";
import { listTrees } from "./list-trees.ts";
import { readStack, rootsOf, type Stack } from "./stack.ts";
import { readFileSystem } from "./tree-facts.ts";
import { kindOfTree } from "./tree-place.ts";

/**
 * The tree of an image for who reads it, whatever keeps it. Of a plain directory it is that, and costs nothing; else it
 * is mounted when it is first asked for, detached, read-only and by this process alone: nothing of it is left, however
 * that ends. A start reads its facts of it, and opens again what the machine is to have, by steps of its plan.
 */
export interface OpenTree extends Disposable {
  /** A directory with all of the tree; `/proc/PID/fd/N` where it is mounted, which children reach as well. Until it is disposed of. */
  readonly path: string;
  /**
   * The same as directories laid over each other, the topmost first: for who reads a file or two, also of a machine that
   * runs. What one of them does not have, or has removed, is looked for in the next.
   */
  readonly roots: readonly string[];
  /** How the tree is kept, for the planner. */
  readonly storage: StorageFacts;
  /** Of a disk image. */
  readonly partitions?: readonly PartitionView[];
  /** What its files lie on, where its own mount does not tell. */
  fileSystem(): FileSystemFacts | null;
}

/** A partition to be shown. */
export interface PartitionView {
  readonly number: number;
  readonly label: string;
  /** Bytes. */
  readonly size: number;
  /** Or what else is in it, as blkid(8) calls it; null: nothing that is known. */
  readonly fileSystem: string | null;
  /** Where a machine has it; null: nowhere. */
  readonly mountedOn: string | null;
}

/** @throws BerthError when it can't be opened. Of a directory nothing is looked at yet. */
export function openTree(image: string): OpenTree {
  switch (kindOfTree(image)) {
    case "directory":
      return new DirectoryTree(image);
    case "stack":
      return new StackTree(existingStack(image));
    case "disk":
      throw new BerthError(`${image} is a disk image, and can't be opened without the plan of its machine`);
  }
}

/** Of one that lies elsewhere than an image does. */
export function openStack(stack: Stack): OpenTree {
  return new StackTree(stack);
}

class DirectoryTree implements OpenTree {
  readonly path: string;
  readonly storage = { kind: "directory" } as const;

  constructor(path: string) {
    this.path = path;
  }

  get roots(): readonly string[] {
    return [this.path];
  }

  fileSystem(): null {
    return null;
  }

  [Symbol.dispose](): void {
    // Nothing was opened.
  }
}

class StackTree implements OpenTree {
  readonly #stack: Stack;
  #mount: number | undefined;

  constructor(stack: Stack) {
    this.#stack = stack;
  }

  get path(): string {
    this.#mount ??= mountRoots(this.roots);
    return `/proc/${process.pid}/fd/${this.#mount}`;
  }

  get roots(): readonly string[] {
    return rootsOf(this.#stack);
  }

  get storage(): StorageFacts {
    const { layers, rw } = this.#stack;
    return { kind: "stack", layers, rw };
  }

  fileSystem(): FileSystemFacts {
    const { path, rw } = this.#stack;
    const { fsType, readOnly } = readFileSystem(path);
    return { fsType, readOnly: readOnly || rw === null };
  }

  [Symbol.dispose](): void {
    if (this.#mount !== undefined) closeQuietly(this.#mount);
    this.#mount = undefined;
  }
}

/** An overlay of one layer alone the kernel makes none. */
function mountRoots(roots: readonly string[]): number {
  const opened: number[] = [];
  try {
    for (const root of roots) opened.push(openSync(root, O_PATH | O_DIRECTORY));
    const [only] = opened;
    if (opened.length > 1 || only === undefined) return mountLayers(opened);
    opened.length = 0;
    return only;
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

function existingStack(path: string): Stack {
  try {
    return readStack(path);
  } catch (error) {
    const code = errorCode(error);
    if (error instanceof BerthError || code === undefined) throw error;
    const shown = visible(path);
    if (code === "ENOTDIR") throw new BerthError(`${shown}: not a directory`, { cause: error });
    if (code !== "ENOENT") throw new BerthError(`${shown}: cannot read the stack: ${code}`, { cause: error });
    const hint = suggest(basename(path), listTrees(dirname(path))) ?? "berth clone makes one of a tree";
    throw new BerthError(`${shown}: no such stack`, { hint, cause: error });
  }
}
