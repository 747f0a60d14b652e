import { chmodSync, lstatSync, renameSync, rmdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { isPending } from "../host/pending-tree.ts";
import { linksOf, readStack } from "../host/stack.ts";
import { syncTree } from "../host/to-disk.ts";
import { STACK_SUFFIX } from "../host/tree-place.ts";
import { isImmutable, setImmutable } from "../sys/file-flags.ts";
import { renameExchange, renameNoReplace } from "../sys/files.ts";
import { cloneDriver, type FoundImage, findImage } from "./discover.ts";
import { directoryDriver } from "./drivers/directory.ts";
import { MOST_LAYERS, stackDriver } from "./drivers/stack.ts";
import { holdTree } from "./hold-tree.ts";
import { settle } from "./later-writes.ts";
import { collectHalf, dropLayer, linkTo, lockLayers, newLayer } from "./layers.ts";
import { lockImage } from "./locks.ts";
import { hiddenInLayer, lastingObstacle } from "./obstacle.ts";
import { hasChanges, makeStack, newIdentity, readIdentity, topOf } from "./stack-files.ts";
import { createWorkspace } from "./workspace.ts";

/**
 * Makes what is in an image something that others can have for a layer, where that saves them a copy: of a directory it
 * makes a stack, and what was written to a stack becomes a layer of its own. Only what nothing runs from, and nobody works
 * on; else, and where the file system has better means but for `force`, the image is left as it is. Answers where it is then.
 *
 * Whatever point this ends at, the image is there, whole and by its name: each step is one rename.
 */
export async function makeShareable(paths: Paths, image: FoundImage, force = false): Promise<FoundImage> {
  if (dirname(image.path) !== paths.machines || !mayBeShared(paths, image, force)) return image;
  // Nobody asks a layer whether all of it is on the disk.
  await settle(image.path);
  const { image: shared, changed } = await share(paths, image, force);
  // Who has it for a layer has all that was written until now.
  if (changed) await syncTree(paths.machines);
  return shared;
}

async function share(
  paths: Paths,
  image: FoundImage,
  force: boolean,
): Promise<{ readonly image: FoundImage; readonly changed: boolean }> {
  await using workspace = await createWorkspace(paths.machines, image.name.replace(/^\./, ""));
  using _layers = await lockLayers(paths.machines);
  collectHalf(paths.machines, workspace.path);
  try {
    using _changed = lockImage(paths, image.name, "changed");
    const now = findImage(paths, image.name);
    if (now === null || !mayBeShared(paths, now, force) || isPending(now.path))
      return { image: now ?? image, changed: false };
    using _held = holdTree(now, paths);
    if (now.driver === directoryDriver && (await hiddenInLayer(now)) !== null) return { image: now, changed: false };
    const shared = now.driver === stackDriver ? seal(paths, now) : becomeStack(paths, now, workspace.path);
    return { image: shared, changed: true };
  } catch (error) {
    // Somebody reads it, or a machine runs from it.
    if (error instanceof BerthError && error.kind === "Busy") return { image, changed: false };
    throw error;
  }
}

function mayBeShared(paths: Paths, image: FoundImage, force: boolean): boolean {
  const { path, driver } = image;
  if (driver === stackDriver) {
    const stack = readStack(path);
    return hasChanges(stack) && stack.layers.length < MOST_LAYERS && linksOf(path) !== null;
  }
  if (driver !== directoryDriver || !(force || cloneDriver(paths.machines) === stackDriver)) return false;
  return lastingObstacle(paths, image) === null;
}

/**
 * As long as the directory is there the stack beside it is nobody's, and has no layer: both change at once when the
 * directory becomes the layer.
 */
function becomeStack(paths: Paths, { name, path }: FoundImage, workspace: string): FoundImage {
  const { machines } = paths;
  const stack = { name, path: join(machines, `${name}${STACK_SUFFIX}`), driver: stackDriver };
  if (lstatSync(stack.path, { throwIfNoEntry: false }) !== undefined) return { name, path, driver: directoryDriver };
  const made = join(workspace, `made${STACK_SUFFIX}`);
  const { id, directory } = newLayer(machines);
  makeStack(made, { links: [linkTo(id)], identity: newIdentity(null, createdAt(path)), like: path });
  const readOnly = isImmutable(path);
  if (readOnly) chmodSync(made, READ_ONLY);
  renameNoReplace(made, stack.path);
  try {
    if (readOnly) setImmutable(path, false);
    renameSync(path, join(directory, "tree"));
    return stack;
  } catch (error) {
    if (readOnly) setImmutable(path, true);
    renameSync(stack.path, made);
    rmdirSync(directory);
    // Something is mounted there.
    if (errorCode(error) === "EBUSY" || errorCode(error) === "EXDEV") return { name, path, driver: directoryDriver };
    throw error;
  }
}

const READ_ONLY = 0o500;

/** What takes the image's place is younger than the image. */
function createdAt(path: string): number | null {
  const { birthtimeMs } = statSync(path);
  return birthtimeMs > 0 ? Math.floor(birthtimeMs) : null;
}

/** The old stack is where the layer is to be, with what was written in it, when the new one has its place. */
function seal({ machines }: Paths, image: FoundImage): FoundImage {
  const { path } = image;
  const stack = readStack(path);
  const identity = readIdentity(path) ?? newIdentity(null);
  const { id, directory } = newLayer(machines);
  try {
    rmdirSync(directory);
    makeStack(directory, {
      links: [...(linksOf(path) ?? []), linkTo(id, "rw/data")],
      identity: { ...identity, created: identity.created ?? createdAt(path) },
      like: topOf(stack),
    });
    chmodSync(directory, statSync(path).mode & 0o777);
    renameExchange(directory, path);
  } catch (error) {
    dropLayer(directory);
    throw error;
  }
  return image;
}
