import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { forgetRange, moveRange } from "../exec/range-ledger.ts";
import type { Paths } from "../host/paths.ts";
import { ledgerPath } from "../host/ranges.ts";
import { requireName } from "../spec/name.ts";
import type { FoundImage } from "./discover.ts";
import { holdTree } from "./hold-tree.ts";
import { HOST_IMAGE } from "./image.ts";
import { lockImage } from "./locks.ts";
import { makeImage, placeOf, requireFree } from "./make.ts";
import { moveImage } from "./move.ts";
import { copySettings, removeSettings } from "./settings-follow.ts";
import { createWorkspace } from "./workspace.ts";

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
  requireName(to);
  requireNotHost(from, "cloned");
  using _copied = lockImage(paths, from.name, "copied");
  await makeImage(paths, { ...options, name: to, driver, replace: false, settingsOf: from.name }, async (workspace) => {
    const copy = join(workspace, "image");
    await driver.copy(from.path, copy, options.signal);
    return copy;
  });
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

function requireNotHost({ name }: FoundImage, what: string): void {
  if (name !== HOST_IMAGE) return;
  throw new BerthError(`${name} is the host itself and can't be ${what}`, { kind: "NotSupported" });
}
