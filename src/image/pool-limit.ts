import { existsSync, lstatSync } from "node:fs";
import { BerthError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { isBtrfs, isSubvolume } from "../sys/btrfs.ts";
import { hasQuotas, limitOfGroup, limitStore, storeGroup } from "../sys/btrfs-quota.ts";
import { findImages } from "./discover.ts";
import { subvolumeDriver } from "./drivers/subvolume.ts";
import { listSnapshots, snapshotImage } from "./snapshots/snapshot.ts";

/** What all subvolumes of the store may take together, bytes; null: it has no limit. */
export function poolLimit({ machines }: Paths): number | null {
  if (!existsSync(machines) || !isBtrfs(machines)) return null;
  const group = storeGroup(machines);
  return group === null ? null : limitOfGroup(group);
}

/** `limit`: bytes; null takes it away. @throws BerthError of kind NotSupported */
export async function limitPool(paths: Paths, limit: number | null): Promise<void> {
  const { machines } = paths;
  const not = (why: string, hint: string): BerthError =>
    new BerthError(`the store ${machines} can't have a limit: ${why}`, { hint, kind: "NotSupported" });
  if (!existsSync(machines) || !isSubvolume(machines))
    throw not(
      "its directory is no subvolume of btrfs",
      "BERTH_MACHINES in a subvolume (btrfs subvolume create) with quotas can have one; elsewhere a file system of its own limits it",
    );
  if (!hasQuotas(machines))
    throw not("quotas are off on its file system", `btrfs quota enable ${machines}, which makes snapshots slower`);
  await limitStore(machines, subvolumesOf(paths), limit);
}

function subvolumesOf(paths: Paths): readonly string[] {
  const images = findImages(paths);
  const snapshots = images.flatMap(({ name }) => listSnapshots(paths, name)).map(snapshotImage);
  // A link leads to one that is elsewhere.
  return [...images, ...snapshots].flatMap(({ path, driver }) =>
    driver === subvolumeDriver && !lstatSync(path).isSymbolicLink() ? [path] : [],
  );
}
