import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { isBtrfs, isSubvolume } from "../sys/btrfs.ts";
import type { Driver } from "./driver.ts";
import { directoryDriver } from "./drivers/directory.ts";
import { rawDriver } from "./drivers/raw.ts";
import { subvolumeDriver } from "./drivers/subvolume.ts";
import { HOST_IMAGE, isImageName } from "./image.ts";
import { findSnapshot, snapshotImage, splitSnapshotName } from "./snapshots/snapshot.ts";

/** An image's place in the store, before anything is known of it. */
export interface FoundImage {
  readonly name: string;
  readonly path: string;
  readonly driver: Driver;
}

export const HOST: FoundImage = { name: HOST_IMAGE, path: "/", driver: directoryDriver };

/** What looks like an image in the store, by name. Of a tree and a disk image of one name the tree counts. */
export function findImages(paths: Paths): readonly FoundImage[] {
  const found = new Map<string, FoundImage>();
  for (const entry of list(paths.machines)) {
    const image = imageAt(paths, entry);
    if (image === null || (image.driver === rawDriver && found.has(image.name))) continue;
    found.set(image.name, image);
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Null: there is none of that name. */
export function findImage(paths: Paths, name: string): FoundImage | null {
  if (name === HOST_IMAGE) return HOST;
  return imageAt(paths, name) ?? imageAt(paths, `${name}${rawDriver.suffix}`);
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

function imageAt(paths: Paths, entry: string): FoundImage | null {
  const path = join(paths.machines, entry);
  const raw = entry.endsWith(rawDriver.suffix);
  const name = raw ? entry.slice(0, -rawDriver.suffix.length) : entry;
  if (!isImageName(name) || isOurs(paths, path)) return null;
  // Links to images elsewhere are followed: the store is root's.
  const stat = statSync(path, { throwIfNoEntry: false });
  if (raw && stat?.isFile()) return { name, path, driver: rawDriver };
  // A machine may be called web.raw.
  if (!stat?.isDirectory() || !isImageName(entry)) return null;
  return { name: entry, path, driver: isSubvolume(path) ? subvolumeDriver : directoryDriver };
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
