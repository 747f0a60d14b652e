import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import type { Paths } from "../host/paths.ts";
import { ledgerPath, RANGES_IN_USE } from "../host/ranges.ts";
import type { PlanPlaces } from "../plan/input.ts";

/** Directory of the records of running machines, one a machine. */
export function recordsDirectory(paths: Paths): string {
  return join(paths.run, "running");
}

export function placesOf(name: string, root: string, paths: Paths): PlanPlaces {
  // Two berth roots on one host have cgroups of their own.
  const instance = createHash("sha256").update(paths.run).digest("hex").slice(0, 8);
  return {
    lock: join(paths.run, "locks", name),
    record: join(recordsDirectory(paths), name),
    ranges: RANGES_IN_USE,
    ledger: ledgerPath(paths.machines),
    // Beside the tree: on its file system, and never on a tmpfs that a host's /run may be.
    layer: join(dirname(root), `.berth-layer-${name}`),
    cgroup: `berth-${instance}`,
  };
}
