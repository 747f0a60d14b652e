import { dirname, join } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import { openTree } from "../host/open-tree.ts";
import type { Paths } from "../host/paths.ts";
import { isUnwritten, linksOf, readStack } from "../host/stack.ts";
import { requireNotHost } from "./changes.ts";
import { copyDisk } from "./copy-disk.ts";
import type { OnCopied } from "./copy-progress.ts";
import { copyTree } from "./copy-tree.ts";
import { bestDriver, cloneDriver, type FoundImage, findImage } from "./discover.ts";
import type { Driver } from "./driver.ts";
import { directoryDriver } from "./drivers/directory.ts";
import { rawDriver } from "./drivers/raw.ts";
import { MOST_LAYERS, stackDriver } from "./drivers/stack.ts";
import { subvolumeDriver } from "./drivers/subvolume.ts";
import { lockImage } from "./locks.ts";
import { type MakeOptions, makeImage, requireFree } from "./make.ts";
import { hiddenInLayer, obstacleNow, SOMEBODY } from "./obstacle.ts";
import { type CopiedSettings, copySettings } from "./settings-follow.ts";
import { makeShareable } from "./share.ts";
import { copySavedSettings } from "./snapshots/saved-settings.ts";
import { findSnapshot, splitSnapshotName } from "./snapshots/snapshot.ts";

export interface CloneOptions extends Pick<MakeOptions, "later"> {
  /** What keeps the copy; default: what suits the file system best. */
  readonly driver?: "directory" | "stack" | undefined;
  readonly readOnly: boolean;
  readonly signal: AbortSignal;
  /** Hears how far it is where files are copied. */
  readonly progress?: OnCopied | undefined;
  /** Hears why all is copied, where the file system could have had the files in a layer of both. */
  readonly onFullCopy?: ((why: string) => void) | undefined;
}

/**
 * A copy under a new name, with settings of its own. A machine may run from it: a snapshot is what a power cut would have
 * left, in a copy each file is as it was at its turn, as machinectl has it. Host name, machine id and keys are the same in both: what a copy is for only its user knows.
 */
export async function cloneImage(paths: Paths, from: FoundImage, to: string, options: CloneOptions): Promise<void> {
  requireNotHost(from, "cloned", "NotSupported");
  requireFree(paths, to);
  const snapshot = splitSnapshotName(from.name);
  const { driver: wanted } = options;
  const shared = wanted === "directory" ? from : await makeShareable(paths, from, wanted === "stack");
  using _copied = lockImage(paths, snapshot?.image ?? from.name, "copied");
  // Somebody else may have been first.
  const source = dirname(from.path) === paths.machines ? (findImage(paths, from.name) ?? shared) : shared;
  const driver = await driverOf(paths, source, wanted);
  const settings = (): CopiedSettings =>
    snapshot === null
      ? copySettings(paths, from.name, to)
      : copySavedSettings(paths, findSnapshot(paths, snapshot.image, snapshot.snapshot), to);
  if (wanted === undefined && isCopiedForOnce(paths, source))
    options.onFullCopy?.((await obstacleOf(paths, source))[0]);
  const { readOnly, signal, later } = options;
  await makeImage(paths, { readOnly, signal, later, driver, name: to, replace: false, settings }, (workspace) =>
    fillClone(paths, source, driver, workspace, options),
  );
}

/** A snapshot never is a layer. */
function isCopiedForOnce({ machines }: Paths, { driver, path }: FoundImage): boolean {
  return driver === directoryDriver && dirname(path) === machines && cloneDriver(machines) === stackDriver;
}

/** What keeps the copy. */
async function driverOf(paths: Paths, source: FoundImage, wanted: CloneOptions["driver"]): Promise<Driver> {
  const { driver, name, path } = source;
  const { machines } = paths;
  const refuse = (why: string, hint?: string): BerthError =>
    new BerthError(`a clone of ${name} can't be a ${wanted}: ${why}`, { kind: "NotSupported", hint });
  if (driver === rawDriver) {
    if (wanted !== undefined) throw refuse("it is a disk image");
    return driver;
  }
  if (wanted === "directory") return directoryDriver;
  if (wanted === "stack" && driver !== stackDriver)
    throw driver === subvolumeDriver
      ? refuse("it is a subvolume", "a clone of that is a snapshot, which shares all that does not change")
      : refuse(...(await obstacleOf(paths, source)));
  if (driver === stackDriver && wanted === undefined && !isShared(path)) return bestDriver(machines);
  return driver === stackDriver ? driver : bestDriver(machines);
}

async function obstacleOf(paths: Paths, source: FoundImage): Promise<[why: string, hint?: string]> {
  const { why, hint } = obstacleNow(paths, source) ?? (await hiddenInLayer(source)) ?? SOMEBODY;
  return hint === undefined ? [why] : [why, hint];
}

/** Not where each clone of a clone would have one more layer, for ever. */
function isShared(stack: string): boolean {
  const { layers } = readStack(stack);
  return linksOf(stack) !== null && (layers.length < MOST_LAYERS || isUnwritten(stack));
}

async function fillClone(
  paths: Paths,
  source: FoundImage,
  driver: Driver,
  workspace: string,
  options: CloneOptions,
): Promise<string> {
  const { signal, progress } = options;
  const copy = join(workspace, `image${driver.suffix}`);
  if (driver === source.driver && (await copied(paths, source, copy, options))) return copy;
  driver.create(copy);
  if (source.driver !== stackDriver) await copyTree(source.path, copy, signal, { progress });
  else {
    // What a machine writes meanwhile is not to be under an overlay's feet.
    const still = join(workspace, `still${stackDriver.suffix}`);
    const isOwn = linksOf(source.path) === null;
    if (!isOwn) await stackDriver.copy(source.path, still, signal);
    using opened = openTree(isOwn ? source.path : still);
    await copyTree(`${opened.path}/.`, copy, signal, { progress });
  }
  return copy;
}

/** False: it lies on another file system, and its driver copies within one only. */
async function copied(
  paths: Paths,
  from: FoundImage,
  to: string,
  { signal, progress }: CloneOptions,
): Promise<boolean> {
  try {
    if (from.driver === rawDriver) await copyDisk(paths, from, to, signal, progress);
    else await from.driver.copy(from.path, to, signal, progress);
    return true;
  } catch (error) {
    if (errorCode(error) === "EXDEV") return false;
    throw error;
  }
}
