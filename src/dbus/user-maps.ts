import { readFileSync } from "node:fs";
import { DBusError } from "../bus/dbus-error.ts";
import { invalid } from "./access.ts";
import type { BusMachine } from "./bus-machine.ts";
import type { Machines } from "./machines.ts";
import { MACHINE1, machinePath } from "./places.ts";

export type IdKind = "User" | "Group";

interface Range {
  readonly inside: number;
  readonly outside: number;
  readonly count: number;
}

/** Ids below this are the host's own: what a machine has of them tells nothing. */
const HOST_IDS = 0x10000;
const INVALID_ID = 0xffff_ffff;

export function mapFromMachine(kind: IdKind, machine: BusMachine, inner: number): number {
  requireId(kind, inner);
  if (machine.class !== "container") throw invalid(`MapFromMachine${kind}() only supported for container machines.`);
  const range = rangesOf(kind, machine).find(({ inside, count }) => inner >= inside && inner < inside + count);
  if (range !== undefined) return inner - range.inside + range.outside;
  throw noMapping(kind, `Machine '${machine.name}' has no matching ${kind.toLowerCase()} mappings.`);
}

export function mapToMachine(kind: IdKind, machines: Machines, outer: number): [string, string, number] {
  requireId(kind, outer);
  const what = kind.toLowerCase();
  if (outer < HOST_IDS)
    throw noMapping(kind, `${kind} ${outer} belongs to host ${kind === "User" ? "UID" : "GID"} range`);
  for (const machine of machines.list()) {
    if (machine.class !== "container") continue;
    const range = rangesOf(kind, machine).find(({ outside, count }) => outer >= outside && outer < outside + count);
    // One that has the host's ids has all of them, and no user of its own.
    if (range !== undefined && range.outside !== range.inside)
      return [machine.name, machinePath(machine.name), outer - range.outside + range.inside];
  }
  throw noMapping(kind, `No matching ${what} mapping for ${outer}.`);
}

function requireId(kind: IdKind, id: number): void {
  if (id === INVALID_ID) throw invalid(`Invalid ${kind.toLowerCase()} ID ${id}`);
}

function noMapping(kind: IdKind, text: string): DBusError {
  return new DBusError(`${MACHINE1}.NoSuch${kind}Mapping`, text);
}

/** user_namespaces(7): inside, outside, how many. */
function rangesOf(kind: IdKind, { leader }: BusMachine): readonly Range[] {
  try {
    const text = readFileSync(`/proc/${leader}/${kind === "User" ? "uid" : "gid"}_map`, "latin1");
    return text.split("\n").flatMap((line) => {
      const [inside, outside, count] = line.trim().split(/\s+/).map(Number);
      return inside === undefined || outside === undefined || count === undefined ? [] : [{ inside, outside, count }];
    });
  } catch {
    return []; // it has just gone
  }
}
