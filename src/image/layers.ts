import { randomBytes } from "node:crypto";
import { closeSync, type Dirent, mkdirSync, openSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { errorCode } from "../errors.ts";
import { isUnwritten, LAYERS, layersNamedBy, readStack } from "../host/stack.ts";
import { STACK_SUFFIX } from "../host/tree-place.ts";
import { O_DIRECTORY, tryLock } from "../sys/files.ts";
import { SNAPSHOTS } from "./snapshots/places.ts";
import { createWorkspace, PREFIX } from "./workspace.ts";

/**
 * The layers of a store's stacks: `.berth-layers/ID/tree`, or `.berth-layers/ID/rw/data` of what was written to a stack
 * and then sealed. None of them is changed any more. One that no stack names is garbage; so who makes one has the lock of
 * them all until a stack names it, which takes some system calls, and what takes longer comes before.
 */

const PRIVATE = 0o700;
/** ms between two attempts to have the lock. */
const PAUSE = 2;

/** Until it is let go nobody else makes, names or removes layers in this store: for a moment only. */
export async function lockLayers(store: string): Promise<Disposable> {
  const path = join(store, LAYERS);
  try {
    mkdirSync(path, { mode: PRIVATE });
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
  }
  const fd = openSync(path, O_DIRECTORY);
  try {
    while (!tryLock(fd, path)) await setTimeout(PAUSE);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return { [Symbol.dispose]: () => closeSync(fd) };
}

/** A directory for a new one. The caller has the lock. */
export function newLayer(store: string): { readonly id: string; readonly directory: string } {
  const id = randomBytes(8).toString("hex");
  const directory = join(store, LAYERS, id);
  mkdirSync(directory, PRIVATE);
  return { id, directory };
}

/** What a stack's link to a layer says: its tree, or what was written to a stack. */
export function linkTo(id: string, what: "tree" | "rw/data" = "tree"): string {
  return `../${LAYERS}/${id}/${what}`;
}

/** Moves layers that nobody names any more to `target`, a directory whose owner removes it. */
export async function collectLayers(store: string, target: string): Promise<void> {
  if (!hasLayers(store)) return;
  using _layers = await lockLayers(store);
  collectHalf(store, target);
  const named = new Set(stacksIn(store).flatMap(layersNamedBy));
  for (const id of readdirSync(join(store, LAYERS)))
    if (!named.has(id)) renameSync(join(store, LAYERS, id), join(target, `layer-${id}`));
}

/** Removes layers that nobody names any more, and what those left who were killed. */
export async function sweepLayers(store: string): Promise<void> {
  if (!hasLayers(store)) return;
  await using workspace = await createWorkspace(store, "layers");
  await collectLayers(store, workspace.path);
}

/**
 * Moves away what those left who were killed while a tree became a stack: there is no layer, nor anything that was
 * written; the tree is where it was. The caller has the lock.
 */
export function collectHalf(store: string, target: string): void {
  for (const { name } of entriesOf(store).filter((entry) => entry.name.endsWith(STACK_SUFFIX))) {
    const stack = join(store, name);
    if (!isWhole(stack) && isUnwritten(stack))
      renameSync(stack, join(target, `half-${name.slice(0, -STACK_SUFFIX.length)}`));
  }
}

function hasLayers(store: string): boolean {
  try {
    return readdirSync(join(store, LAYERS)).length > 0;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

function isWhole(stack: string): boolean {
  try {
    readStack(stack);
    return true;
  } catch {
    return false;
  }
}

/** All that count: images, snapshots, and what is being made. What is being removed has another name. */
function stacksIn(store: string): readonly string[] {
  return entriesOf(store).flatMap((entry) => {
    const path = join(store, entry.name);
    if (entry.name.endsWith(STACK_SUFFIX)) return [path];
    if (entry.name.startsWith(PREFIX)) return stacksBelow(path, 1);
    return entry.name === SNAPSHOTS ? stacksBelow(path, 3) : [];
  });
}

function stacksBelow(directory: string, depth: number): readonly string[] {
  return entriesOf(directory).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.name.endsWith(STACK_SUFFIX)) return [path];
    return depth > 0 ? stacksBelow(path, depth - 1) : [];
  });
}

/** Directories; of one that has just gone, none. */
function entriesOf(directory: string): readonly Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** Takes a layer away again that no stack names. The caller has the lock. */
export function dropLayer(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
}
