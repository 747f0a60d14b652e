import { readFileSync } from "node:fs";

/** A process that can be found again: a pid alone may be another's by now. */
export interface ProcessId {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat (proc(5)): clock ticks after boot. */
  readonly startTime: string;
}

export function processId(pid: number): ProcessId {
  return { pid, startTime: startTimeOf(pid) ?? "" };
}

let own: ProcessId | undefined;

/** This process. */
export function ownProcessId(): ProcessId {
  own ??= processId(process.pid);
  return own;
}

export function isAlive({ pid, startTime }: ProcessId): boolean {
  return startTimeOf(pid) === startTime;
}

export function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the command in parentheses and may hold anything: count from the last one.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19]; // a zombie runs no more
  } catch {
    return undefined;
  }
}
