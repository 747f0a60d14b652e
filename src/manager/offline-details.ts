import type { Paths } from "../host/paths.ts";
import { findTree, treeOf } from "../host/tree-place.ts";
import { isFrozen } from "../machine/freeze.ts";
import { noSuchMachine } from "../machine/known-machines.ts";
import { lookUp } from "../machine/record.ts";
import { requireName } from "../spec/name.ts";
import { detailsOf, type MachineDetails } from "./machine-details.ts";
import { viewOfRecord, viewOfStopped, viewOfUnknown } from "./machine-view.ts";
import { StateFiles } from "./state-file.ts";

/** What can be told of a machine where no daemon runs. @throws BerthError of kind NoSuchMachine */
export function offlineDetails(name: string, paths: Paths): MachineDetails {
  requireName(name);
  const found = lookUp(name, paths);
  if (found !== null) {
    const view = found.state === "unknown" ? viewOfUnknown(found) : viewOfRecord(found, isFrozen(found));
    return detailsOf(view, null, "root", paths);
  }
  const state = new StateFiles(paths).read(name);
  const tree = findTree(paths.machines, name);
  if (state === undefined && tree === null) throw noSuchMachine(name, paths);
  const failure = state?.failure ?? null;
  return detailsOf(
    viewOfStopped(name, tree ?? treeOf(paths.machines, name), failure, state?.restarts),
    failure,
    "root",
    paths,
  );
}
