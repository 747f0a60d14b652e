import { existsSync, lstatSync, realpathSync, renameSync } from "node:fs";
import { join } from "node:path";
import { BerthError, type ErrorKind } from "../errors.ts";
import { forgetRange } from "../exec/range-ledger.ts";
import type { Paths } from "../host/paths.ts";
import { isLost } from "../host/pending-tree.ts";
import { ledgerPath, readLedger } from "../host/ranges.ts";
import { syncPath } from "../host/to-disk.ts";
import type { FoundImage } from "./discover.ts";
import { stackDriver } from "./drivers/stack.ts";
import { forgetMove, moveRest, noteMove } from "./half-moved.ts";
import { holdTree } from "./hold-tree.ts";
import { HOST_IMAGE } from "./image.ts";
import { settle } from "./later-writes.ts";
import { collectLayers, lockMoves } from "./layers.ts";
import { lockImage } from "./locks.ts";
import { placeOf, requireFree } from "./make.ts";
import { moveImage } from "./move.ts";
import { copySettings, removeSettings } from "./settings-follow.ts";
import { isHalfRolledBack } from "./snapshots/places.ts";
import { snapshotNames, snapshotsOf } from "./snapshots/snapshot.ts";
import { createWorkspace } from "./workspace.ts";

/** What changes the store. Each appears at once, by a rename, and leaves nothing when it fails. */

/** With its settings, its range of ids, and its mark. */
export async function renameImage(paths: Paths, image: FoundImage, to: string): Promise<void> {
  requireFree(paths, to);
  requireNotHost(image, "renamed");
  using _renamed = lockImage(paths, image.name, "renamed");
  using _made = lockImage(paths, to, "made");
  requireWhole(paths, image.name);
  requireNoSnapshots(paths, to);
  using _held = holdTree(image, paths);
  using _layers = await lockMoves(paths.machines);
  // One that can't be read is an error before anything is done.
  readLedger(ledgerPath(paths.machines));
  // Should this process end in the midst of it, settings that nobody reads are the least harm.
  const settings = copySettings(paths, image.name, to);
  const place = placeOf(paths, image.driver.suffix, to);
  try {
    noteMove(paths, image, to);
    moveImage(image, place, true);
  } catch (error) {
    forgetMove(paths, image.name);
    settings.undo();
    throw error;
  }
  // Whatever fails from here on, the note stays, and the next sweep does the rest.
  moveRest(paths, image.name, to);
  await syncPath(paths.machines);
  // It may be marked read-only again.
  if (!lstatSync(place).isSymbolicLink()) await syncPath(place);
  forgetMove(paths, image.name);
  settings.removeOriginals();
}

/**
 * With its settings, and its range of ids is free again. It is gone from the store at once, its files soon after. One that has
 * snapshots is left alone, but where `snapshots` says that they go, too. Of one that is lost only what was made with it goes.
 */
export async function removeImage(paths: Paths, image: FoundImage, snapshots: boolean | "lost"): Promise<void> {
  requireNotHost(image, "removed");
  using _removed = lockImage(paths, image.name, "removed");
  // Somebody else may have seen to it, and made another one since.
  if (snapshots === "lost" && !isLost(image.path)) return;
  const names = snapshotNames(paths, image.name);
  if (snapshots === false && names.length > 0) throw hasSnapshots(image.name, names);
  using _held = holdTree(image, paths);
  readLedger(ledgerPath(paths.machines));
  await using workspace = await createWorkspace(paths.machines, image.name.replace(/^\./, ""));
  const removed = join(workspace.path, "image");
  const made = snapshots === "lost" ? lstatSync(image.path).birthtimeMs : 0;
  noteMove(paths, image, null);
  using _noted = { [Symbol.dispose]: () => forgetMove(paths, image.name) };
  moveImage(image, removed, false);
  if (snapshots === true && existsSync(snapshotsOf(paths, image.name)))
    renameSync(snapshotsOf(paths, image.name), join(workspace.path, "snapshots"));
  await syncPath(paths.machines);
  // It is out of the store: nothing of it is left for the next one of that name, whatever its files do.
  removeSettings(paths, image.name, made);
  forgetRange(ledgerPath(paths.machines), image.name);
  if (!lstatSync(removed).isSymbolicLink()) image.driver.discard?.(removed);
  if (image.driver === stackDriver || names.length > 0) await collectLayers(paths.machines, workspace.path);
}

function hasSnapshots(name: string, names: readonly string[]): BerthError {
  const what = names.length === 1 ? `a snapshot, ${names[0]}` : `${names.length} snapshots`;
  return new BerthError(`image ${name} has ${what}`, {
    hint: `berth remove --snapshots ${name} removes ${names.length === 1 ? "it" : "them"} with the image`,
    kind: "Busy",
  });
}

/** Nobody was killed while it was rolled back: that is gone on with first, by who can wait. */
function requireWhole(paths: Paths, name: string): void {
  if (!isHalfRolledBack(paths, name)) return;
  throw new BerthError(`image ${name} is half rolled back`, { hint: "berth clean finishes that", kind: "Busy" });
}

/** Of the image itself: where the settings say ReadOnly=, a machine can't change it either. */
export async function markReadOnly(paths: Paths, image: FoundImage, readOnly: boolean): Promise<void> {
  requireNotHost(image, "marked read-only");
  using _changed = lockImage(paths, image.name, "changed");
  using _held = holdTree(image, paths);
  // No mark can be taken away from it afterwards.
  if (readOnly) await settle(image.path);
  image.driver.setReadOnly(image.path, readOnly);
  await syncPath(realpathSync(image.path));
}

/** Of an image of that name which went by other hands than ours: they would be another one's now. */
function requireNoSnapshots(paths: Paths, name: string): void {
  const [first] = snapshotNames(paths, name);
  if (first === undefined) return;
  throw new BerthError(`there are snapshots of an earlier image ${name}, such as ${name}@${first}`, {
    hint: `they are in ${snapshotsOf(paths, name)}, to be moved away or removed`,
    kind: "Busy",
  });
}

export function requireNotHost({ name }: FoundImage, what: string, kind: ErrorKind = "EROFS"): void {
  if (name !== HOST_IMAGE) return;
  throw new BerthError(`${name} is the host itself and can't be ${what}`, { kind });
}
