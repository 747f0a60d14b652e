import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import { printable } from "../spec/quote.ts";

/** What is killed ends within this time, ms, unless the kernel keeps it. */
const PATIENCE_MS = 10_000;
/** Processes that are named. */
const NAMED_MAX = 5;

/** Resolves when a machine that was killed has ended. @throws BerthError that says what of it is left, when that takes too long */
export async function endInTime(name: string, ended: Promise<void>, cgroup: string | undefined): Promise<void> {
  const late = new AbortController();
  const time = sleep(PATIENCE_MS, true, { ref: false, signal: late.signal }).catch(() => false);
  const isLate = await Promise.race([ended.then(() => false), time]);
  late.abort();
  if (!isLate) return;
  const left = cgroup === undefined ? [] : processesIn(cgroup);
  const named = left.slice(0, NAMED_MAX).join(", ");
  const more = left.length > NAMED_MAX ? `, and ${left.length - NAMED_MAX} more` : "";
  const what = named === "" ? "its keeper, or a stage of its start, does not end" : `left are ${named}${more}`;
  throw new BerthError(`machine ${name} was killed, and has not ended within ${PATIENCE_MS / 1000} s: ${what}`, {
    kind: "Timeout",
    hint: "one in state D waits in the kernel and ends when that is over, one in state T has been stopped",
  });
}

/** Of a cgroup and those below, each as `PID 7 (sleep, state S)`. */
function processesIn(cgroup: string): readonly string[] {
  try {
    const pids = readFileSync(join(cgroup, "cgroup.procs"), "utf8").split("\n").filter(Boolean);
    const below = readdirSync(cgroup, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [...pids.flatMap(describe), ...below.flatMap((entry) => processesIn(join(cgroup, entry.name)))];
  } catch {
    return []; // it has just gone
  }
}

function describe(pid: string): readonly string[] {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const field = (key: string): string => new RegExp(`^${key}:\\s*(\\S*)`, "m").exec(status)?.[1] ?? "?";
    return [`PID ${pid} (${printable(field("Name"))}, state ${field("State")})`];
  } catch {
    return [];
  }
}
