import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { words } from "../host/host-files.ts";
import type { MachineRecord } from "./record.ts";

export interface MachineProcess {
  readonly pid: number;
  /** Its cgroup, as cgroups(7) has it in /proc/PID/cgroup. */
  readonly cgroup: string;
}

/** A machine makes as many cgroups and processes as it may: these are looked at. */
const DEPTH_MAX = 64;
const PROCESSES_MAX = 4096;

/** The processes in a running machine, by cgroup. */
export function processesOf({ cgroup, cgroupMount }: MachineRecord): readonly MachineProcess[] {
  const found: MachineProcess[] = [];
  const look = (directory: string, depth: number): void => {
    if (depth > DEPTH_MAX || found.length >= PROCESSES_MAX) return;
    for (const pid of words(text(join(directory, "cgroup.procs"))))
      found.push({ pid: Number(pid), cgroup: directory.slice(cgroupMount.length) });
    for (const child of children(directory)) look(join(directory, child), depth + 1);
  };
  look(join(cgroup, "payload"), 0);
  return found;
}

function children(directory: string): readonly string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return []; // it has just gone
  }
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
