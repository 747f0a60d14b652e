import { readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { isAlive, type ProcessId } from "../host/process-id.ts";
import type { LaunchPlan } from "../plan/step.ts";
import { recordsDirectory } from "./places.ts";

export const STATES = ["starting", "running", "stopping"] as const;
export type MachineState = (typeof STATES)[number];

/** What is written down of a running machine, for other commands to find it. One JSON file in its record directory. */
export interface MachineRecord {
  readonly version: 1;
  readonly name: string;
  readonly state: MachineState;
  readonly ready: boolean;
  /** Last STATUS= of its init. */
  readonly status: string | null;
  readonly bootId: string;
  readonly leader: ProcessId;
  readonly keeper: ProcessId;
  /** The process that runs it in the foreground. */
  readonly supervisor: ProcessId;
  readonly cgroup: string;
  readonly cgroupMount: string;
  readonly unit: string | null;
  readonly root: string;
  /** Directory of an ephemeral machine's changes. */
  readonly layer: string | null;
  readonly os: string | null;
  readonly osVersion: string | null;
  readonly killSignal: number;
  readonly uidShift: number | null;
  readonly weaknesses: readonly string[];
  /** ms since the epoch. */
  readonly times: {
    readonly began: number;
    readonly executed: number;
    /** `executed` on CLOCK_MONOTONIC, in ms: what the machine's own timestamps can be compared with. */
    readonly executedMonotonic: number;
    readonly ready: number | null;
  };
}

const FILE = "record.json";
const PLAN = "plan.json";

/** Written to a temporary name and renamed: a reader sees the old or the new one. */
export function writeRecord(directory: string, record: MachineRecord): void {
  const path = join(directory, FILE);
  writeFileSync(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** The plan a machine was started by, for commands that join it. */
export function writePlan(directory: string, plan: LaunchPlan): void {
  writeFileSync(join(directory, PLAN), JSON.stringify(plan), { mode: 0o600 });
}

export function readPlan(name: string, paths: Paths): LaunchPlan {
  return JSON.parse(readFileSync(join(recordsDirectory(paths), name, PLAN), "utf8")) as LaunchPlan;
}

/** Null: there is none, or it is of another version, or its machine does not run any more. */
export function readRecord(name: string, paths: Paths): MachineRecord | null {
  try {
    const record = JSON.parse(readFileSync(join(recordsDirectory(paths), name, FILE), "utf8")) as MachineRecord;
    return record.version === 1 && isAlive(record.leader) ? record : null;
  } catch {
    return null;
  }
}

/** All machines of this root that run, by name. */
export function listRecords(paths: Paths): readonly MachineRecord[] {
  let names: string[];
  try {
    names = readdirSync(recordsDirectory(paths)).sort();
  } catch (error) {
    if (errorCode(error) === "EACCES")
      throw new BerthError(`${recordsDirectory(paths)} can be read by root only`, { hint: "run this as root" });
    return []; // nothing has run here yet
  }
  return names.map((name) => readRecord(name, paths)).filter((record) => record !== null);
}
