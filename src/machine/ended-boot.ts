import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { exitRecordIn } from "../exec/exit-record.ts";
import type { Paths } from "../host/paths.ts";
import { type Outcome, outcomeOf } from "./exit-status.ts";
import { type KnownBoot, knownBoots } from "./history.ts";
import { lookUp } from "./record.ts";
import { type MachineRecord, recordFault } from "./record-shape.ts";

/** A boot that is over, as far as it is known. */
export interface EndedBoot extends KnownBoot {
  /** Null: it can't be read. */
  readonly record: MachineRecord | null;
  /** ms since the epoch; null: nobody was there to write it down, as its keeper was killed. */
  readonly ended: number | null;
  readonly outcome: Outcome | null;
}

/** The last one; null: there is none. Its number is 0 where nobody has seen to its end yet, as no daemon ran. */
export function lastEndedBoot(name: string, paths: Paths): EndedBoot | null {
  const last = knownBoots(name, paths).find(({ boot, directory }) => boot < 0 || isOver(directory, name, paths));
  if (last === undefined) return null;
  const exit = exitRecordIn(last.directory);
  return {
    ...last,
    record: recordIn(last.directory, name),
    ended: exit?.time ?? null,
    outcome: exit === null ? null : outcomeOf(exit),
  };
}

function isOver(directory: string, name: string, paths: Paths): boolean {
  return existsSync(join(directory, "record.json")) && lookUp(name, paths) === null;
}

/** Of a boot that runs or is kept, by its directory. Null: it is not there, damaged, or of another version. */
export function recordIn(directory: string, name: string): MachineRecord | null {
  try {
    const value: unknown = JSON.parse(readFileSync(join(directory, "record.json"), "utf8"));
    return recordFault(value, name) === undefined ? (value as MachineRecord) : null;
  } catch {
    return null;
  }
}
