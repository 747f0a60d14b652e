import { existsSync, readdirSync, readFileSync, renameSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import type { Launch, LaunchTrace } from "../exec/launch.ts";
import { bootId } from "../host/boot-id.ts";
import type { Paths } from "../host/paths.ts";
import { isAlive } from "../host/process-id.ts";
import { writeText } from "../host/write-text.ts";
import type { LaunchPlan } from "../plan/step.ts";
import { checkName } from "../spec/name.ts";
import { isLocked } from "../sys/file-lock.ts";
import { recordsDirectory } from "./places.ts";
import { isOfOtherVersion, type MachineRecord, planFault, recordFault } from "./record-shape.ts";

export type { MachineRecord } from "./record-shape.ts";

/** A machine that runs and of which nothing more can be told. */
export interface UnknownMachine {
  readonly name: string;
  readonly state: "unknown";
  /** Its record, and what is wrong with it: `is damaged: ...`. */
  readonly file: string;
  readonly fault: string;
}

const FILE = "record.json";
/** What is in it once more, for the next daemon. */
const COPY = "record.copy.json";
const PLAN = "plan.json";

/** Written to a temporary name and renamed: a reader sees the old or the new one. */
export function writeRecord(directory: string, record: MachineRecord): void {
  const path = `${directory}/${FILE}`;
  const text = JSON.stringify(record);
  writeText(`${path}.new`, text);
  renameSync(`${path}.new`, path);
  if (record.managed) writeText(`${directory}/${COPY}`, text);
}

export interface RestoredRecord {
  readonly record: MachineRecord;
  /** Where the damaged one is now; null: there was none. */
  readonly setAside: string | null;
}

/** Of a machine that runs and whose record is damaged or gone: what its copy says takes its place. Null: that says nothing either. */
export function restoreRecord({ name, file, fault }: UnknownMachine): RestoredRecord | null {
  if (isOfOtherVersion(fault)) return null;
  const directory = dirname(file);
  try {
    const record = readJson(join(directory, COPY), (value) => recordFault(value, name)) as MachineRecord;
    if (!isRunning(record)) return null;
    const setAside = existsSync(file) ? `${file}.corrupt-${Date.now()}` : null;
    if (setAside !== null) renameSync(file, setAside);
    writeRecord(directory, record);
    return { record, setAside };
  } catch (error) {
    if (error instanceof FileFault) return null;
    throw error;
  }
}

/** The plan a machine was started by, and how long its steps took. */
export interface StartedPlan extends LaunchPlan {
  readonly trace?: LaunchTrace;
}

/** The text of one, of a launch whose steps are text already. */
export function planText({ plan: { machine }, texts, trace }: Pick<Launch, "plan" | "texts" | "trace">): string {
  return `{"machine":${JSON.stringify(machine)},"steps":[${texts.join(",")}],"trace":${JSON.stringify(trace)}}`;
}

/** For commands that join it. */
export function writePlan(directory: string, text: string): void {
  writeText(`${directory}/${PLAN}`, text);
}

/** Of a boot that runs or is kept, by its directory. Null: it is not there, or of another version. */
export function planOfBoot(directory: string): StartedPlan | null {
  try {
    return readJson(join(directory, PLAN), planFault) as StartedPlan;
  } catch (error) {
    if (error instanceof FileFault) return null;
    throw error;
  }
}

/** @throws BerthError that names the file when it is missing or damaged */
export function readPlan(name: string, paths: Paths): LaunchPlan {
  const path = planPath(name, paths);
  const stat = statSync(path, { throwIfNoEntry: false });
  const version = stat === undefined ? "" : `${path} ${stat.ino} ${stat.ctimeMs}`;
  if (stat === undefined || lastPlan?.version !== version)
    lastPlan = { version, plan: readJson(path, planFault) as LaunchPlan };
  return lastPlan.plan;
}

/** The one that was read last: commands in a machine come one after the other, and to read it takes half a millisecond. */
let lastPlan: { readonly version: string; readonly plan: LaunchPlan } | undefined;

export function planPath(name: string, paths: Paths): string {
  return join(recordsDirectory(paths), name, PLAN);
}

/** Null: there is none that can be read, or its machine does not run any more. */
export function readRecord(name: string, paths: Paths): MachineRecord | null {
  const found = read(name, paths);
  return found?.state === "unknown" ? null : found;
}

/** The machine of that name, if it runs; also one whose record can't be read, which its locks give away. */
export function lookUp(name: string, paths: Paths): MachineRecord | UnknownMachine | null {
  const found = read(name, paths);
  return found?.state === "unknown" && !isHeld(name, paths) ? null : found;
}

/** Whether there is anything by which one of that name could be found to run: that there is nothing is soon known. */
export function leavesTraces(name: string, paths: Paths): boolean {
  return existsSync(join(recordsDirectory(paths), name)) || existsSync(lockOf(name, paths));
}

/** All machines of this root that run, by name; only those that are `wanted` are looked at. */
export function listMachines(
  paths: Paths,
  wanted: (name: string) => boolean = () => true,
): readonly (MachineRecord | UnknownMachine)[] {
  return recordNames(paths)
    .filter(wanted)
    .map((name) => lookUp(name, paths))
    .filter((machine) => machine !== null);
}

/** Of machines that run, or have ended so that nobody has seen to it; sorted. */
export function recordNames(paths: Paths): readonly string[] {
  try {
    const names = readdirSync(recordsDirectory(paths)).sort();
    return names.filter((name) => checkName(name) === undefined);
  } catch (error) {
    if (errorCode(error) === "EACCES") throw forRoot(recordsDirectory(paths));
    return []; // nothing has run here yet
  }
}

function read(name: string, paths: Paths): MachineRecord | UnknownMachine | null {
  const found = readSavedRecord(name, paths);
  return found.state === "unknown" || isRunning(found) ? found : null;
}

/** Of an earlier boot of the host nothing runs, whoever has the same pid and the same time now. */
function isRunning(record: MachineRecord): boolean {
  return record.bootId === bootId() && isAlive(record.state === "rebooting" ? record.supervisor : record.leader);
}

/** What is written down of a machine, whether it runs or not; of what can't be read, why. */
export function readSavedRecord(name: string, paths: Paths): MachineRecord | UnknownMachine {
  const file = join(recordsDirectory(paths), name, FILE);
  try {
    return readJson(file, (value) => recordFault(value, name)) as MachineRecord;
  } catch (error) {
    if (error instanceof FileFault) return { name, state: "unknown", file, fault: error.fault };
    throw error;
  }
}

/** Its keeper has the locks as long as it lives, its supervisor until nothing of the machine is left. */
export function isHeld(name: string, paths: Paths): boolean {
  return isLocked(lockOf(name, paths)) || isLocked(join(recordsDirectory(paths), name, "exit"));
}

function lockOf(name: string, { run }: Paths): string {
  return join(run, "locks", name);
}

class FileFault extends BerthError {
  readonly fault: string;

  constructor(path: string, fault: string) {
    super(`${path} ${fault}`);
    this.fault = fault;
  }
}

function readJson(path: string, faultOf: (value: unknown) => string | undefined): unknown {
  const value = parse(path, readText(path));
  const fault = faultOf(value);
  if (fault !== undefined) throw new FileFault(path, fault);
  return value;
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = errorCode(error);
    if (code === "EACCES") throw forRoot(path);
    const missing = "is not there: the machine is just being started, or there was no room for it";
    throw new FileFault(path, code === "ENOENT" ? missing : `can't be read: ${code}`);
  }
}

function parse(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new FileFault(path, "is damaged: it is cut, or no JSON");
  }
}

function forRoot(path: string): BerthError {
  return new BerthError(`${path} can be read by root only`, { hint: "run this as root" });
}
