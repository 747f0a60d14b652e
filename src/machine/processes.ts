import { join } from "node:path";
import { children, DEPTH_MAX, members } from "./cgroup-tree.ts";
import type { MachineRecord } from "./record.ts";

export interface MachineProcess {
  readonly pid: number;
  /** Its cgroup, as cgroups(7) has it in /proc/PID/cgroup. */
  readonly cgroup: string;
}

/** A machine makes as many processes as it may: these are looked at. */
const PROCESSES_MAX = 4096;

/** The processes in a running machine, by cgroup. */
export function processesOf({ cgroup, cgroupMount }: MachineRecord): readonly MachineProcess[] {
  const found: MachineProcess[] = [];
  const look = (directory: string, depth: number): void => {
    if (depth > DEPTH_MAX || found.length >= PROCESSES_MAX) return;
    for (const pid of members(directory)) found.push({ pid, cgroup: directory.slice(cgroupMount.length) });
    for (const child of children(directory)) look(join(directory, child), depth + 1);
  };
  look(join(cgroup, "payload"), 0);
  return found;
}
