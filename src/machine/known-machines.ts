import { readdirSync } from "node:fs";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { listTrees } from "../host/list-trees.ts";
import type { Paths } from "../host/paths.ts";
import { checkName } from "../spec/name.ts";
import { suggest } from "../spec/nearest.ts";
import { quote } from "../spec/quote.ts";
import { recordsDirectory } from "./places.ts";

/** Names of machines that run, have run or could, as far as the caller may know. */
export function knownMachines(paths: Paths): readonly string[] {
  const names = [
    ...listTrees(paths.machines),
    ...namesIn(recordsDirectory(paths)),
    ...namesIn(join(paths.run, "history")),
  ];
  return [...new Set(names)].sort();
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory).filter((name) => checkName(name) === undefined);
  } catch {
    return []; // nothing has run here yet, or it is for root only
  }
}

/** Of one that was found running a moment ago. */
export function justEnded(name: string): BerthError {
  return new BerthError(`machine ${name} has just ended`, { kind: "NoSuchMachine" });
}

/** Neither a tree, nor anything that runs or has run. */
export function noSuchMachine(name: string, paths: Paths): BerthError {
  const known = knownMachines(paths);
  const few =
    known.length === 0 ? "there are none yet" : known.length <= 5 ? `there are: ${known.join(", ")}` : undefined;
  return new BerthError(`there is no machine ${quote(name)}`, {
    kind: "NoSuchMachine",
    hint: suggest(name, known) ?? few ?? "berth list --all shows them",
  });
}
