import { existsSync, lstatSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BerthError } from "../../errors.ts";
import type { Paths } from "../../host/paths.ts";
import { syncPathNow } from "../../host/to-disk.ts";
import { isSubvolume, readSubvolume } from "../../sys/btrfs.ts";
import { renameNoReplace } from "../../sys/files.ts";
import { type FoundImage, findImage } from "../discover.ts";
import { exchangeImages } from "../exchange.ts";
import { holdTree } from "../hold-tree.ts";
import { lockImage } from "../locks.ts";
import { placeOf } from "../make.ts";
import { unmark } from "../move.ts";
import { createWorkspace } from "../workspace.ts";
import { HALF, isHalfRolledBack } from "./places.ts";
import { restoreSettings, type SavedSettings } from "./saved-settings.ts";
import { imagesWithSnapshots, snapshotsOf } from "./snapshot.ts";

/*
 * A rollback that is decided is a directory beside the image's snapshots, with all that it takes. What is to be done can
 * be done again from any point: who is killed in the midst of it is followed by whoever comes next to the image.
 */
const PLAN = "plan.json";

export interface RollbackPlan {
  /** The name of the snapshot that the replaced state becomes. */
  readonly kept: string;
  /** Of the tree or file that takes the image's place: what its name ends with, and what stays the same over renames. */
  readonly suffix: string;
  readonly identity: string;
  /** What the name of what was there ends with. */
  readonly oldSuffix: string;
  /** The image's mark, which stays. */
  readonly readOnly: boolean;
  readonly settings: readonly SavedSettings[];
}

export interface Half {
  readonly directory: string;
  /** What takes the place; when it has, what was there. */
  readonly image: string;
  readonly settings: string;
  /** What becomes the snapshot of the replaced state. */
  readonly before: string;
}

export function placesIn(directory: string, suffix: string): Half {
  const [settings, before] = [join(directory, "settings"), join(directory, "before")];
  return { directory, image: join(directory, `image${suffix}`), settings, before };
}

export function writePlan(directory: string, plan: RollbackPlan): void {
  writeFileSync(join(directory, PLAN), JSON.stringify(plan));
}

/** Stays the same over renames, and no other image that is there has it. */
export function identityAt(path: string): string {
  return isSubvolume(path) ? readSubvolume(path).uuid : `inode ${statSync(path, { bigint: true }).ino}`;
}

/** Goes on with the rollback of an image that somebody was killed in, if there is one. @throws BerthError of kind Busy */
export async function finishRollback(paths: Paths, image: string): Promise<void> {
  if (!isHalfRolledBack(paths, image)) return;
  using _changed = lockImage(paths, image, "rolled back");
  await finishLocked(paths, image);
}

/** Of all images; those that somebody works on are theirs. */
export async function finishRollbacks(paths: Paths): Promise<void> {
  const failures: unknown[] = [];
  for (const image of imagesWithSnapshots(paths))
    await finishRollback(paths, image).catch((error: unknown) => {
      if (!(error instanceof BerthError) || error.kind !== "Busy") failures.push(error);
    });
  if (failures.length > 0) throw failures[0];
}

/** For who has the image's lock. `held`: and keeps machines from running from it. */
export async function finishLocked(paths: Paths, name: string, held = false): Promise<void> {
  const directory = halfOf(paths, name);
  if (!existsSync(directory)) return;
  const plan = JSON.parse(readFileSync(join(directory, PLAN), "utf8")) as RollbackPlan;
  const half = placesIn(directory, plan.suffix);
  // The state that was replaced is kept last: while it is not, nothing is known to be done.
  if (existsSync(half.before)) {
    const image = findImage(paths, name);
    if (image === null)
      throw new BerthError(`image ${name} has gone while it was rolled back`, { kind: "NoSuchImage" });
    using _held = held ? undefined : holdTree(image, paths);
    const changed = restoreSettings(paths, name, plan.settings, half.settings);
    replace(paths, image, plan, half);
    const place = placeOf(paths, plan.suffix, name);
    if (plan.readOnly) findImage(paths, name)?.driver.setReadOnly(place, true);
    for (const each of new Set([place, paths.machines, half.before, directory, ...changed])) syncPathNow(each);
    renameSync(half.before, join(snapshotsOf(paths, name), plan.kept));
    syncPathNow(snapshotsOf(paths, name));
  }
  await using workspace = await createWorkspace(paths.machines, name.replace(/^\./, ""));
  renameSync(directory, join(workspace.path, "rest"));
}

/** What was there is with the state that was replaced in the end. */
function replace(paths: Paths, image: FoundImage, { suffix, oldSuffix, identity }: RollbackPlan, half: Half): void {
  const [target, kept] = [placeOf(paths, suffix, image.name), join(half.before, `image${oldSuffix}`)];
  const isPlaced = isThere(target) && identityAt(target) === identity;
  if (!isPlaced && isThere(half.image)) {
    unmark(image);
    if (suffix === oldSuffix) exchangeImages(half.image, target);
    else renameNoReplace(half.image, target);
  }
  // Of another kind it has another name: for a moment both are there, and one of them counts.
  const old = suffix === oldSuffix ? half.image : placeOf(paths, oldSuffix, image.name);
  if (isThere(old) && !isThere(kept)) renameSync(old, kept);
}

function halfOf(paths: Paths, image: string): string {
  return join(snapshotsOf(paths, image), HALF);
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
