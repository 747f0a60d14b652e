/**
 * Which processes of the host are this test worker's doing. A leaked process may have lost its parents, so three
 * signs count: it descends from the worker; it carries the worker's mark in its environment; or it was reparented
 * and is a machine's (another pid namespace than ours) or has a berth name. What descends from somebody else's
 * living process is never ours: other work may share this host.
 */
import { readFileSync, readlinkSync } from "node:fs";
import { list } from "./host-state.ts";

export interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly state: string;
  readonly name: string;
  /** Clock ticks after boot: with the pid it names a process for good. */
  readonly started: string;
}

export type Processes = ReadonlyMap<number, Process>;

/** Inherited by everything a test starts, unless that gets a made-up environment. */
const MARK = `BERTH_TEST_WORKER=${process.pid}`;
process.env["BERTH_TEST_WORKER"] = String(process.pid);

export function readProcesses(): Processes {
  const all = new Map<number, Process>();
  for (const name of list("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const found = readProcess(Number(name));
    if (found) all.set(found.pid, found);
  }
  return all;
}

/** proc_pid_stat(5); the name is in parentheses and may hold any character, so fields count from the last `)`. */
function readProcess(pid: number): Process | undefined {
  const text = read(`/proc/${pid}/stat`);
  const end = text.lastIndexOf(")");
  if (end < 0) return undefined;
  const fields = text.slice(end + 2).split(" ");
  const [state = "?", parent = "0"] = fields;
  const started = fields[19] ?? "";
  return { pid, parent: Number(parent), state, name: text.slice(text.indexOf("(") + 1, end), started };
}

/** Lines for the processes of this worker that run in `after` and did not in `before`. */
export function newProcesses(before: Processes, after: Processes): string[] {
  const isNew = (process: Process) => before.get(process.pid)?.started !== process.started;
  const own = new Set([process.pid, ...ancestors(after, process.pid)]);
  return [...after.values()]
    .filter((candidate) => isNew(candidate) && isOurs(candidate, after, own, isNew))
    .map(describe);
}

function isOurs(one: Process, all: Processes, own: Set<number>, isNew: (process: Process) => boolean): boolean {
  const above = ancestors(all, one.pid);
  if (above.includes(process.pid) || read(`/proc/${one.pid}/environ`).split("\0").includes(MARK)) return true;
  // An orphan that has ended waits for PID 1, which takes its time or, in a container without an init, never comes.
  if (one.state === "Z" || !isSuspect(one)) return false;
  // The oldest new process above it. Orphans go to PID 1, or to a subreaper that is above us as well.
  let top = one;
  for (const pid of above) {
    const parent = all.get(pid);
    if (!parent || !isNew(parent)) break;
    top = parent;
  }
  return top.parent === 1 || (own.has(top.parent) && isSuspect(top));
}

/** A machine's process, by its pid namespace, or one with berth in its name. */
function isSuspect({ pid, name }: Process): boolean {
  return isForeign(pid) || name.includes("berth");
}

function ancestors(all: Processes, pid: number): number[] {
  const found: number[] = [];
  for (let next = all.get(pid)?.parent; next && !found.includes(next); next = all.get(next)?.parent) found.push(next);
  return found;
}

/** It lives in another pid namespace than this process. */
function isForeign(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`) !== readlinkSync("/proc/self/ns/pid");
  } catch {
    return false;
  }
}

function describe({ pid, name, state, parent }: Process): string {
  const command = read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim().slice(0, 200);
  return `${pid} ${name} (state ${state}, parent ${parent}) ${command}`.trim();
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
