import { dirname, join } from "node:path";
import { hash32 } from "../host/hash.ts";
import type { Paths } from "../host/paths.ts";
import { ledgerPath, RANGES_IN_USE } from "../host/ranges.ts";
import type { PlanPlaces } from "../plan/input.ts";

/** systemd-nspawn's registry of the trees in use (image_path_lock in its sources), a lock file each by inode. */
export const TREES_IN_USE = "/run/systemd/nspawn/locks";

/** Directory of the records of running machines, one a machine. */
export function recordsDirectory(paths: Paths): string {
  return `${paths.run}/running`;
}

/** By templates: join() takes a text apart, which is a fiftieth of the time that 50 starts take. */
export function placesOf(name: string, root: string, paths: Paths): PlanPlaces {
  // Two berth roots on one host have cgroups of their own, and layers of their own where they share a tree.
  const instance = hash32(Buffer.from(paths.run)).toString(16).padStart(8, "0");
  return {
    lock: `${paths.run}/locks/${name}`,
    record: `${recordsDirectory(paths)}/${name}`,
    ranges: RANGES_IN_USE,
    trees: TREES_IN_USE,
    ledger: ledgerPath(paths.machines),
    // Beside the tree: on its file system, and never on a tmpfs that a host's /run may be.
    layer: join(dirname(root), `.berth-layer-${instance}-${name}`),
    // Nowhere that users may write: they could be there first. Nor where systemd-tmpfiles cleans up.
    temporary: `${paths.machines}/.berth-temporary-${instance}-${name}`,
    cgroup: `berth-${instance}`,
  };
}
