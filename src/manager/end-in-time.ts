import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import { children, DEPTH_MAX, members } from "../machine/cgroup-tree.ts";
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
  const named = left.slice(0, NAMED_MAX).flatMap(describe).join(", ");
  const more = left.length > NAMED_MAX ? `, and ${left.length - NAMED_MAX} more` : "";
  const what = named === "" ? "its keeper, or a stage of its start, does not end" : `left are ${named}${more}`;
  throw new BerthError(`machine ${name} was killed, and has not ended within ${PATIENCE_MS / 1000} s: ${what}`, {
    kind: "Timeout",
    hint: "one in state D waits in the kernel and ends when that is over, one in state T has been stopped",
  });
}

/** Of a cgroup and those below, by pid. */
function processesIn(cgroup: string, depth = 0): readonly number[] {
  if (depth > DEPTH_MAX) return [];
  return [...members(cgroup), ...children(cgroup).flatMap((child) => processesIn(join(cgroup, child), depth + 1))];
}

/** As `PID 7 (sleep, state S)`; none: it has ended. */
function describe(pid: number): readonly string[] {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const field = (key: string): string => new RegExp(`^${key}:\\s*(\\S*)`, "m").exec(status)?.[1] ?? "?";
    return [`PID ${pid} (${printable(field("Name"))}, state ${field("State")})`];
  } catch {
    return [];
  }
}
