import { BerthError } from "../errors.ts";
import { listTrees } from "../host/list-trees.ts";
import type { Paths } from "../host/paths.ts";
import { findTree } from "../host/tree-place.ts";
import { requireName } from "../spec/name.ts";
import { nearest, suggest } from "../spec/nearest.ts";
import { quote } from "../spec/quote.ts";
import { listMachines, lookUp, type MachineRecord, type UnknownMachine } from "./record.ts";

/** The running machine of that name. @throws BerthError that names the nearest one, or says why nothing can be done in it */
export function findMachine(name: string, paths: Paths): MachineRecord {
  const machine = findAnyMachine(name, paths);
  if (machine.state === "rebooting")
    throw new BerthError(`machine ${name} is between two boots`, {
      hint: `one that reboots as soon as it is up is held back for some seconds; berth terminate ${name} ends it`,
    });
  if (machine.state !== "unknown") return machine;
  throw new BerthError(`machine ${name} runs, but ${machine.file} ${machine.fault}`, {
    hint: `berth terminate ${name} ends it`,
  });
}

/** The same, also when its record can't be read, and between two boots. */
export function findAnyMachine(name: string, paths: Paths): MachineRecord | UnknownMachine {
  requireName(name);
  const machine = lookUp(name, paths);
  if (machine !== null) return machine;
  if (findTree(paths.machines, name) !== null) throw notRunning(name, `berth start ${name} boots it`);
  const running = listMachines(paths).map((each) => each.name);
  const near = nearest(name, listTrees(paths.machines));
  const stopped = near === undefined ? undefined : `did you mean ${near}? It does not run either`;
  const few = running.length === 0 ? "no machine runs" : `running: ${running.join(", ")}`;
  throw notRunning(name, suggest(name, running) ?? stopped ?? few);
}

function notRunning(name: string, hint: string): BerthError {
  return new BerthError(`no machine ${quote(name)} is running`, { hint, kind: "NoSuchMachine" });
}
