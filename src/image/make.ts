import { join } from "node:path";
import type { Paths } from "../host/paths.ts";
import { syncPath } from "../host/to-disk.ts";
import { requireName } from "../spec/name.ts";
import { bestDriver, type FoundImage, findImage } from "./discover.ts";
import type { Driver } from "./driver.ts";
import { stackDriver } from "./drivers/stack.ts";
import { forgetMove } from "./half-moved.ts";
import { holdTree } from "./hold-tree.ts";
import type { LaterWrites } from "./later-writes.ts";
import { collectLayers } from "./layers.ts";
import { lockImage } from "./locks.ts";
import { moveImage, unmark } from "./move.ts";
import { forgetOrigin } from "./origin.ts";
import type { CopiedSettings } from "./settings-follow.ts";
import { alreadyThere, createWorkspace, prepareStore, publish, publishInstead } from "./workspace.ts";
import { writeBeside } from "./write-back.ts";

export interface MakeOptions {
  readonly name: string;
  /** Default: the best one for trees in this store. */
  readonly driver?: Driver;
  readonly readOnly: boolean;
  /** In place of an image of that name, should there be one. */
  readonly replace: boolean;
  /** Gives it settings as well. */
  readonly settings?: () => Pick<CopiedSettings, "undo"> | Promise<Pick<CopiedSettings, "undo">>;
  readonly signal: AbortSignal;
  /** It is to be on the disk when this ends, also where `later` is given. */
  readonly sync?: boolean | undefined;
  /** Lets a new image appear before it is on the disk. */
  readonly later?: LaterWrites | undefined;
}

/** Runs what fills a directory. Where that has to be on the disk before it appears, it is written meanwhile. */
export type Beside = <T>(directory: string, work: () => Promise<T>) => Promise<T>;

/** Gets a workspace, and the driver whose image it is to make in it; returns that one's path. */
export type Fill = (workspace: string, driver: Driver, beside: Beside) => Promise<string>;

/**
 * Makes an image of what `fill` puts into the workspace it is given. It is in the store from one
 * moment to the next, whole; whatever fails, nothing of it is left. Returns its place.
 * @throws BerthError
 */
export async function makeImage(paths: Paths, options: MakeOptions, fill: Fill): Promise<string> {
  const { name, signal } = options;
  const place = placeOf(paths, options.driver?.suffix ?? "", name);
  const check = (): FoundImage | null => (options.replace ? replaceable(paths, name, place) : requireFree(paths, name));
  requireName(name);
  check();
  using _made = lockImage(paths, name, "made");
  await prepareStore(paths.machines);
  forgetMove(paths, name);
  // Of an image that went by a hand that knows nothing of it, or that was never finished.
  if (!options.replace) forgetOrigin(paths, name);
  await using workspace = await createWorkspace(paths.machines, name);
  const isSynced = options.sync === true || options.replace || options.readOnly;
  using later = isSynced ? undefined : options.later?.open(paths.machines);
  const beside: Beside = later === undefined ? writeBeside : (_, work) => work();
  let settings: Pick<CopiedSettings, "undo"> | undefined;
  try {
    const finished = await fill(workspace.path, options.driver ?? bestDriver(paths.machines), beside);
    signal.throwIfAborted();
    const old = check();
    settings = await options.settings?.();
    if (old === null) await publish(finished, place, later);
    else if (old.path === place) await replace(paths, old, finished);
    else await replaceStack(paths, old, finished, place, workspace.path);
  } catch (error) {
    settings?.undo();
    if (!options.replace) forgetOrigin(paths, name);
    throw error;
  }
  if (options.replace) forgetOrigin(paths, name);
  // Not before: what is marked so can't be renamed.
  if (options.readOnly) {
    findImage(paths, name)?.driver.setReadOnly(place, true);
    await syncPath(place);
  }
  return place;
}

/** The old one goes with the workspace. */
async function replace(paths: Paths, old: FoundImage, finished: string): Promise<void> {
  using _held = holdTree(old, paths);
  const marked = unmark(old);
  try {
    await publishInstead(finished, old.path);
  } catch (error) {
    if (marked) old.driver.setReadOnly(old.path, true);
    throw error;
  }
}

/** By a tree, which counts from the moment that it is there. The old one goes with the workspace. */
async function replaceStack(
  paths: Paths,
  old: FoundImage,
  finished: string,
  place: string,
  workspace: string,
): Promise<void> {
  using _held = holdTree(old, paths);
  await publish(finished, place);
  moveImage(old, join(workspace, "replaced"), false);
  await syncPath(paths.machines);
  await collectLayers(paths.machines, workspace);
}

/** @throws BerthError when the name is none, or taken */
export function requireFree(paths: Paths, name: string): null {
  requireName(name);
  const taken = findImage(paths, name);
  if (taken !== null) throw alreadyThere(taken.path);
  return null;
}

/** Only by one of the same kind, as a disk image and a tree have different places; or of a stack by a tree. */
function replaceable(paths: Paths, name: string, place: string): FoundImage | null {
  const old = findImage(paths, name);
  if (old === null) return null;
  if (old.path !== place && !(old.driver === stackDriver && place === placeOf(paths, "", name)))
    throw alreadyThere(old.path);
  holdTree(old, paths)[Symbol.dispose]();
  return old;
}

export function placeOf(paths: Paths, suffix: string, name: string): string {
  return join(paths.machines, `${name}${suffix}`);
}
