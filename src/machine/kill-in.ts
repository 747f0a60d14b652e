import { closeSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { errorCode } from "../errors.ts";
import { killCgroup } from "../exec/cgroup.ts";
import { pidfdOpen, pidfdSendSignal } from "../sys/processes.ts";
import { children, DEPTH_MAX, members } from "./cgroup-tree.ts";
import type { MachineRecord } from "./record.ts";
import { signalMachine } from "./signal-machine.ts";

const SIGKILL = 9;
/** Processes that are looked at in one go: a machine may have tens of thousands, and each has an fd meanwhile. */
const AT_A_TIME = 32;

/** Sends a signal to a machine's PID 1, or to each process in it. */
export async function killIn(machine: MachineRecord, whom: "leader" | "all", signal: number): Promise<void> {
  if (whom === "leader") return signalMachine(machine, signal);
  const payload = join(machine.cgroup, "payload");
  if (signal === SIGKILL) killCgroup(payload);
  else await signalAll(payload, signal);
}

/** What forks meanwhile may get away, as with any such signal. */
async function signalAll(cgroup: string, signal: number, depth = 0): Promise<void> {
  const pids = members(cgroup);
  for (let at = 0; at < pids.length; at += AT_A_TIME) {
    signalMembers(pids.slice(at, at + AT_A_TIME), cgroup, signal);
    await nextTurn();
  }
  if (depth < DEPTH_MAX) for (const child of children(cgroup)) await signalAll(join(cgroup, child), signal, depth + 1);
}

/** A pid may have become another process's before the pidfd was taken: what is still listed then is no other. */
function signalMembers(pids: readonly number[], cgroup: string, signal: number): void {
  const taken: { readonly pid: number; readonly pidfd: number }[] = [];
  try {
    for (const pid of pids) {
      const pidfd = open(pid);
      if (pidfd !== undefined) taken.push({ pid, pidfd });
    }
    const listed = new Set(members(cgroup));
    for (const { pid, pidfd } of taken) if (listed.has(pid)) pidfdSendSignal(pidfd, signal);
  } finally {
    for (const { pidfd } of taken) closeSync(pidfd);
  }
}

/** Undefined: it has ended. */
function open(pid: number): number | undefined {
  try {
    return pidfdOpen(pid);
  } catch (error) {
    if (errorCode(error) === "ESRCH") return undefined;
    throw error;
  }
}
