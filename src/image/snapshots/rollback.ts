import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { berthVersion } from "../../host/installation.ts";
import type { Paths } from "../../host/paths.ts";
import { syncTree } from "../../host/to-disk.ts";
import type { OnCopied } from "../copy-progress.ts";
import type { FoundImage } from "../discover.ts";
import { holdTree } from "../hold-tree.ts";
import { lockImage } from "../locks.ts";
import { placeOf } from "../make.ts";
import { copyOwned } from "../settings-follow.ts";
import { alreadyThere, createWorkspace, exists, publish } from "../workspace.ts";
import { finishLocked, identityAt, placesIn, type RollbackPlan, writePlan } from "./half-rollback.ts";
import { HALF } from "./places.ts";
import { saveOrigin, saveSettings } from "./saved-settings.ts";
import {
  fileIn,
  listSnapshots,
  makeSnapshotsOf,
  nextNumber,
  type Snapshot,
  snapshotImage,
  snapshotNames,
  writtenForm,
} from "./snapshot.ts";
import { requireOwn } from "./take.ts";

export interface RollbackOptions {
  readonly signal: AbortSignal;
  /** Called when all that can fail is done: makes sure that no machine runs from the image. */
  readonly stop: () => Promise<void>;
  /** Hears how far it is where files are copied. */
  readonly progress?: OnCopied | undefined;
}

/**
 * Makes an image and its settings what they were at a snapshot, which stays. What was there becomes a snapshot of its own, whose
 * name is returned. The copy that takes its place is made first, while the machine may still run; then follow some renames,
 * which are gone on with should somebody be killed in between (half-rollback.ts).
 * @throws BerthError; all is as it was then
 */
export async function rollBack(
  paths: Paths,
  image: FoundImage,
  snapshot: Snapshot,
  { signal, stop, progress }: RollbackOptions,
): Promise<string> {
  requireOwn(image);
  const source = snapshotImage(snapshot);
  const { suffix } = source.driver;
  const target = placeOf(paths, suffix, image.name);
  if (suffix !== image.driver.suffix && (await exists(target))) throw alreadyThere(target);
  using _changed = lockImage(paths, image.name, "rolled back");
  await finishLocked(paths, image.name); // one that somebody was killed in
  await using workspace = await createWorkspace(paths.machines, image.name.replace(/^\./, ""));
  const half = placesIn(join(workspace.path, "rollback"), suffix);
  for (const directory of [half.directory, half.before]) mkdirSync(directory);
  await source.driver.copy(source.path, half.image, signal, progress);
  if (source.driver === image.driver) keepLimit(image, half.image);
  copyOwned(join(snapshot.directory, "settings"), half.settings);
  await syncTree(half.directory);
  await stop();
  signal.throwIfAborted();
  using _held = holdTree(image, paths);
  using _new = holdTree({ ...image, path: half.image }, paths);
  const kept = nameFor(paths, image.name);
  const plan: RollbackPlan = {
    kept,
    suffix,
    identity: identityAt(half.image),
    oldSuffix: image.driver.suffix,
    readOnly: image.driver.read(image.path).readOnly,
    settings: snapshot.settings,
  };
  saveOrigin(paths, image.name, half.before);
  writeFileSync(
    fileIn(half.before),
    writtenForm({
      ...{
        time: Date.now(),
        number: nextNumber(paths, image.name),
        comment: "",
        driver: image.driver.name,
        running: false,
        frozenMs: null,
      },
      ...{ replacedBy: snapshot.name, berth: berthVersion() },
      settings: saveSettings(paths, image.name, join(half.before, "settings")),
    }),
  );
  writePlan(half.directory, plan);
  // From here on it is done, whoever is killed.
  await publish(half.directory, join(makeSnapshotsOf(paths, image.name), HALF));
  await finishLocked(paths, image.name, true);
  return kept;
}

/** What it may take on the disk is the image's, not its contents'. */
function keepLimit({ path, driver }: FoundImage, copy: string): void {
  if (driver.type !== "subvolume") return;
  const { limit } = driver.read(path);
  if (limit !== undefined && limit !== null) driver.setLimit(copy, limit);
}

const KEPT = "before-rollback";

/** States that rollbacks have replaced, the newest last. */
export function replacedStates(paths: Paths, image: string): readonly Snapshot[] {
  return listSnapshots(paths, image).filter(({ replacedBy }) => replacedBy !== null);
}

function nameFor(paths: Paths, image: string): string {
  const names = new Set(snapshotNames(paths, image));
  for (let number = 1; ; number++) {
    const name = number === 1 ? KEPT : `${KEPT}-${number}`;
    if (!names.has(name)) return name;
  }
}
