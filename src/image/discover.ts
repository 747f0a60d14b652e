import { lstatSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { isLost } from "../host/pending-tree.ts";
import { STACK_SUFFIX } from "../host/tree-place.ts";
import { isBtrfs, isSubvolume } from "../sys/btrfs.ts";
import type { Driver } from "./driver.ts";
import { directoryDriver } from "./drivers/directory.ts";
import { rawDriver } from "./drivers/raw.ts";
import { stackDriver } from "./drivers/stack.ts";
import { subvolumeDriver } from "./drivers/subvolume.ts";
import { takesLayersAt } from "./file-systems.ts";
import { HOST_IMAGE, isImageName } from "./image.ts";
import { findSnapshot, snapshotImage, splitSnapshotName } from "./snapshots/snapshot.ts";

/** An image's place in the store, before anything is known of it. */
export interface FoundImage {
  readonly name: string;
  readonly path: string;
  readonly driver: Driver;
}

export const HOST: FoundImage = { name: HOST_IMAGE, path: "/", driver: directoryDriver };

/** Of a tree, a stack and a disk image of one name the first counts. */
function precedes(one: FoundImage, other: FoundImage): boolean {
  const rank = ({ driver }: FoundImage): number => [stackDriver, rawDriver].indexOf(driver);
  return rank(one) < rank(other);
}

/** What looks like an image in the store, by name. */
export function findImages(paths: Paths): readonly FoundImage[] {
  const found = new Map<string, FoundImage>();
  for (const entry of list(paths.machines)) {
    const image = imageAt(paths, entry);
    if (image === null) continue;
    const other = found.get(image.name);
    if (other === undefined || precedes(image, other)) found.set(image.name, image);
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Null: there is none of that name. */
export function findImage(paths: Paths, name: string): FoundImage | null {
  if (name === HOST_IMAGE) return HOST;
  return [directoryDriver, stackDriver, rawDriver].reduce<FoundImage | null>(
    (found, { suffix }) => found ?? imageAt(paths, `${name}${suffix}`),
    null,
  );
}

/** The same of a snapshot, `NAME@SNAP`, too: for what only reads. */
export function findSource(paths: Paths, name: string): FoundImage | null {
  const split = splitSnapshotName(name);
  return split === null
    ? findImage(paths, name)
    : { name, ...snapshotImage(findSnapshot(paths, split.image, split.snapshot)) };
}

/** The best one for trees in a store. */
export function bestDriver(store: string): Driver {
  return isBtrfs(store) ? subvolumeDriver : directoryDriver;
}

/** The best one for a copy of a tree that is there: it may share what does not change. */
export function cloneDriver(store: string): Driver {
  if (isBtrfs(store)) return subvolumeDriver;
  return takesLayersAt(store) ? stackDriver : directoryDriver;
}

function imageAt(paths: Paths, entry: string): FoundImage | null {
  const path = join(paths.machines, entry);
  if (entry.endsWith(STACK_SUFFIX)) return stackAt(paths, entry);
  const raw = entry.endsWith(rawDriver.suffix);
  const name = raw ? entry.slice(0, -rawDriver.suffix.length) : entry;
  if (!isImageName(name) || isOurs(paths, path)) return null;
  // Links to images elsewhere are followed: the store is root's.
  const stat = statSync(path, { throwIfNoEntry: false });
  if (raw && stat?.isFile()) return { name, path, driver: rawDriver };
  // A machine may be called web.raw.
  if (!stat?.isDirectory() || !isImageName(entry) || isLost(path)) return null;
  return { name: entry, path, driver: isSubvolume(path) ? subvolumeDriver : directoryDriver };
}

/** No link: those in it are about the store that it lies in. */
function stackAt(paths: Paths, entry: string): FoundImage | null {
  const name = entry.slice(0, -STACK_SUFFIX.length);
  const path = join(paths.machines, entry);
  if (!isImageName(name) || lstatSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) return null;
  return { name, path, driver: stackDriver };
}

/** In a checkout berth's own directories lie in the store. */
function isOurs({ etc, run, cache }: Paths, path: string): boolean {
  return [etc, run, cache].some((own) => own === path || own.startsWith(`${path}/`));
}

function list(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    if (errorCode(error) !== "EACCES") throw error;
    throw new BerthError(`${directory} can be read by root only`, { hint: "run this as root", kind: "AccessDenied" });
  }
}
