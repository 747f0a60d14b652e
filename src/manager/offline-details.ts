import { existsSync } from "node:fs";
import type { Paths } from "../host/paths.ts";
import { treeOf } from "../host/tree-place.ts";
import { isFrozen } from "../machine/freeze.ts";
import { noSuchMachine } from "../machine/known-machines.ts";
import { lookUp } from "../machine/record.ts";
import { requireName } from "../spec/name.ts";
import { detailsOf, type MachineDetails } from "./machine-details.ts";
import { viewOfRecord, viewOfStopped, viewOfUnknown } from "./machine-view.ts";
import { unattended } from "./unattended.ts";

/** What can be told of a machine where no daemon runs. @throws BerthError of kind NoSuchMachine */
export function offlineDetails(name: string, paths: Paths): MachineDetails {
  requireName(name);
  const found = lookUp(name, paths);
  if (found !== null) {
    const view = found.state === "unknown" ? viewOfUnknown(found) : viewOfRecord(found, isFrozen(found));
    return detailsOf(view, null, "root", paths);
  }
  const known = unattended(name, paths);
  const tree = treeOf(paths.machines, name);
  if (known === null && !existsSync(tree)) throw noSuchMachine(name, paths);
  return detailsOf(known?.view ?? viewOfStopped(name, tree, null), known?.failure ?? null, "root", paths);
}
