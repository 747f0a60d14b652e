import { randomBytes } from "node:crypto";
import { closeSync, type Dirent, existsSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { errorCode } from "../errors.ts";
import { isUnwritten, LAYERS, layersNamedBy, linksOf } from "../host/stack.ts";
import { STACK_SUFFIX } from "../host/tree-place.ts";
import { O_DIRECTORY, tryLock } from "../sys/files.ts";
import { SNAPSHOTS } from "./snapshots/places.ts";
import { readIdentity } from "./stack-files.ts";
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
  const named = layersInUse(store);
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
 * Moves away what those left who were killed while a tree became a stack: its only layer has a place, and is not there, nor
 * is anything that was written; the tree is where it was. What else can't be used as a stack is somebody's all the same:
 * damaged, or of what systemd.mstack(7) knows and berth does not. The caller has the lock.
 */
export function collectHalf(store: string, target: string): void {
  for (const { name } of entriesOf(store).filter((entry) => entry.name.endsWith(STACK_SUFFIX))) {
    const stack = join(store, name);
    if (orGone(() => isHalf(store, stack), false))
      renameSync(stack, join(target, `half-${name.slice(0, -STACK_SUFFIX.length)}`));
  }
}

function isHalf(store: string, stack: string): boolean {
  if (readIdentity(stack) === null || !isUnwritten(stack) || linksOf(stack)?.length !== 1) return false;
  const [layer] = layersNamedBy(stack);
  if (layer === undefined || readdirSync(stack).some((name) => !PARTS.test(name))) return false;
  const place = join(store, LAYERS, layer);
  return existsSync(place) && readdirSync(place).length === 0;
}

/** What there is in a stack that berth has made. */
const PARTS = /^(\.berth|rw|layer@\d+)$/;

/** For who moves stacks within the store, where a look at all of them could miss one. */
export async function lockMoves(store: string): Promise<Disposable | undefined> {
  return hasLayers(store) ? await lockLayers(store) : undefined;
}

function hasLayers(store: string): boolean {
  try {
    return readdirSync(join(store, LAYERS)).length > 0;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

/**
 * By all that count: what is being made, images, and snapshots. In the order in which one becomes the other, so that what is
 * renamed meanwhile is met before it or after. What is being removed has another name.
 */
function layersInUse(store: string): ReadonlySet<string> {
  const named = new Set<string>();
  const take = (directory: string, depth: number): void => {
    for (const { name } of entriesOf(directory)) {
      const path = join(directory, name);
      if (name.endsWith(STACK_SUFFIX)) for (const layer of orGone(() => layersNamedBy(path), [])) named.add(layer);
      else if (depth > 0) take(path, depth - 1);
    }
  };
  for (const { name } of entriesOf(store)) if (name.startsWith(PREFIX)) take(join(store, name), 1);
  take(store, 0);
  take(join(store, SNAPSHOTS), 3);
  return named;
}

/** Directories; of one that has just gone, none. */
function entriesOf(directory: string): readonly Dirent[] {
  return orGone(() => readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory()), []);
}

/** What `read` says, or `gone` of what others have just taken away. */
function orGone<T>(read: () => T, gone: T): T {
  try {
    return read();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return gone;
    throw error;
  }
}

/** Takes a layer away again that no stack names. The caller has the lock. */
export function dropLayer(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
}
