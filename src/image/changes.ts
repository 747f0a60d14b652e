import { lstatSync } from "node:fs";
import { join } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import { forgetRange, moveRange } from "../exec/range-ledger.ts";
import type { Paths } from "../host/paths.ts";
import { ledgerPath } from "../host/ranges.ts";
import { requireName } from "../spec/name.ts";
import { renameNoReplace } from "../sys/files.ts";
import { type FoundImage, findImage } from "./discover.ts";
import type { Driver } from "./driver.ts";
import { holdTree } from "./hold-tree.ts";
import { HOST_IMAGE } from "./image.ts";
import { lockImage } from "./locks.ts";
import { copySettings, removeSettings } from "./settings-follow.ts";
import { alreadyThere, createWorkspace, prepareStore, publish } from "./workspace.ts";

/** What changes the store. Each appears at once, by a rename, and leaves nothing when it fails. */

export interface CloneOptions {
  readonly readOnly: boolean;
  readonly signal: AbortSignal;
}

/**
 * A copy under a new name, with settings of its own. Of a machine that runs it is what a power cut would have left, as
 * machinectl's is. Host name, machine id and keys are the same in both: what a copy is for only its user knows.
 */
export async function cloneImage(paths: Paths, from: FoundImage, to: string, options: CloneOptions): Promise<void> {
  const { driver } = from;
  requireFree(paths, to);
  requireNotHost(from, "cloned");
  using _copied = lockImage(paths, from.name, "copied");
  using _made = lockImage(paths, to, "made");
  await prepareStore(paths.machines);
  await using workspace = await createWorkspace(paths.machines, to);
  const copy = join(workspace.path, "image");
  await driver.copy(from.path, copy, options.signal);
  options.signal.throwIfAborted();
  const settings = copySettings(paths, from.name, to);
  try {
    await publish(copy, placeOf(paths, driver, to));
  } catch (error) {
    settings.undo();
    throw error;
  }
  // Not before: what is marked so can't be renamed.
  if (options.readOnly) driver.setReadOnly(placeOf(paths, driver, to), true);
}

/** With its settings, its range of ids, and its mark. */
export function renameImage(paths: Paths, image: FoundImage, to: string): void {
  requireFree(paths, to);
  requireNotHost(image, "renamed");
  using _renamed = lockImage(paths, image.name, "renamed");
  using _made = lockImage(paths, to, "made");
  using _held = holdTree(image, paths);
  // Should this process end in the midst of it, settings that nobody reads are the least harm.
  const settings = copySettings(paths, image.name, to);
  try {
    moveImage(image, placeOf(paths, image.driver, to), true);
  } catch (error) {
    settings.undo();
    throw error;
  }
  moveRange(ledgerPath(paths.machines), image.name, to);
  settings.removeOriginals();
}

/** With its settings, and its range of ids is free again. It is gone from the store at once, its files soon after. */
export async function removeImage(paths: Paths, image: FoundImage): Promise<void> {
  requireNotHost(image, "removed");
  using _removed = lockImage(paths, image.name, "removed");
  using _held = holdTree(image, paths);
  await using workspace = await createWorkspace(paths.machines, image.name.replace(/^\./, ""));
  moveImage(image, join(workspace.path, "image"), false);
  removeSettings(paths, image.name);
  forgetRange(ledgerPath(paths.machines), image.name);
}

/** Of the image itself: where the settings say ReadOnly=, a machine can't change it either. */
export function markReadOnly(paths: Paths, image: FoundImage, readOnly: boolean): void {
  requireNotHost(image, "marked read-only");
  using _changed = lockImage(paths, image.name, "changed");
  using _held = holdTree(image, paths);
  image.driver.setReadOnly(image.path, readOnly);
}

/** The kernel renames nothing that is marked read-only, so the mark is taken away, and put back if `marked`. */
function moveImage({ path, driver }: FoundImage, target: string, marked: boolean): void {
  // A link stands for an image elsewhere: only the link is moved.
  const readOnly = !lstatSync(path).isSymbolicLink() && driver.read(path).readOnly;
  if (readOnly) driver.setReadOnly(path, false);
  try {
    renameNoReplace(path, target);
  } catch (error) {
    if (readOnly) driver.setReadOnly(path, true);
    if (errorCode(error) === "EEXIST") throw alreadyThere(target);
    throw errorCode(error) === "EBUSY" || errorCode(error) === "EXDEV" ? isMountPoint(path) : error;
  }
  if (readOnly && marked) driver.setReadOnly(target, true);
}

function isMountPoint(path: string): BerthError {
  return new BerthError(`${path} can't be moved: something is mounted there`, {
    hint: `umount ${path}`,
    kind: "Busy",
  });
}

/** @throws BerthError when the name is none, or taken */
export function requireFree(paths: Paths, name: string): void {
  requireName(name);
  const taken = findImage(paths, name);
  if (taken !== null) throw alreadyThere(taken.path);
}

export function placeOf(paths: Paths, driver: Driver, name: string): string {
  return join(paths.machines, `${name}${driver.suffix}`);
}

function requireNotHost({ name }: FoundImage, what: string): void {
  if (name !== HOST_IMAGE) return;
  throw new BerthError(`${name} is the host itself and can't be ${what}`, { kind: "NotSupported" });
}
