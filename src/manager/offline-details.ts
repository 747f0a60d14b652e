import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Paths } from "../host/paths.ts";
import { treeOf } from "../host/tree-place.ts";
import { noSuchMachine } from "../machine/known-machines.ts";
import { recordsDirectory } from "../machine/places.ts";
import { lookUp } from "../machine/record.ts";
import { requireName } from "../spec/name.ts";
import { consoleTail } from "../supervise/console-log.ts";
import { detailsOf, type MachineDetails } from "./machine-details.ts";
import { viewOfStopped } from "./machine-view.ts";
import type { Failure } from "./state-file.ts";
import { unattended, viewOfOrphan } from "./unattended.ts";

/** What can be told of a machine where no daemon runs. @throws BerthError of kind NoSuchMachine */
export function offlineDetails(name: string, paths: Paths): MachineDetails {
  requireName(name);
  const found = lookUp(name, paths);
  if (found !== null) return detailsOf(viewOfOrphan(found, paths), null, "root", paths);
  const known = unattended(name, paths);
  const tree = treeOf(paths.machines, name);
  if (known === null && !existsSync(tree)) throw noSuchMachine(name, paths);
  const failure = known?.failure ? withLastWords(known.failure, name, paths) : null;
  return detailsOf(known?.view ?? viewOfStopped(name, tree, null), failure, "root", paths);
}

/** Of a failure that no berthd has seen. */
function withLastWords(failure: Failure, name: string, paths: Paths): Failure {
  return failure.console.length > 0
    ? failure
    : { ...failure, console: consoleTail(join(recordsDirectory(paths), name)) };
}
