import { closeSync } from "node:fs";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { killCgroup } from "../exec/cgroup.ts";
import { startTimeOf } from "../host/process-id.ts";
import { handlesSignal } from "../supervise/shutdown.ts";
import { whenReadable } from "../sys/poll.ts";
import { pidfdOpen, pidfdSendSignal } from "../sys/processes.ts";
import type { MachineRecord } from "./record.ts";

const SIGKILL = 9;

/** Sends a signal to a machine's PID 1. Resolves when the machine has ended, or at once with `wait` false. */
export async function signalMachine(
  { leader, supervisor }: MachineRecord,
  signal: number,
  wait: boolean,
): Promise<void> {
  const pidfd = pidfdOpen(leader.pid);
  try {
    if (startTimeOf(leader.pid) !== leader.startTime) return; // ended meanwhile
    pidfdSendSignal(pidfd, signal);
    if (!wait) return;
    await whenReadable(pidfd);
    await processEnd(supervisor.pid, supervisor.startTime);
  } finally {
    closeSync(pidfd);
  }
}

/**
 * Asks a machine's init to do what a signal means to it. Resolves as signalMachine does.
 * @throws BerthError when its PID 1 does not handle the signal: the kernel drops it, and the wait would have no end
 */
export async function askMachine(machine: MachineRecord, signal: number, wait: boolean): Promise<void> {
  if (!handlesSignal(machine.leader.pid, signal) && startTimeOf(machine.leader.pid) === machine.leader.startTime)
    throw new BerthError(`machine ${machine.name} can't be asked: its PID 1 does not handle signal ${signal}`, {
      hint: `berth terminate ${machine.name} kills it; KillSignal= says which signal stops it`,
    });
  await signalMachine(machine, signal, wait);
}

/** Kills everything in a machine. */
export async function killMachine(machine: MachineRecord): Promise<void> {
  killCgroup(join(machine.cgroup, "payload"));
  await signalMachine(machine, SIGKILL, true);
}

/** Its supervisor takes away what is left of the machine on the host: only then is the name free again. */
async function processEnd(pid: number, startTime: string): Promise<void> {
  if (startTimeOf(pid) !== startTime) return;
  const pidfd = pidfdOpen(pid);
  try {
    if (startTimeOf(pid) === startTime) await whenReadable(pidfd);
  } finally {
    closeSync(pidfd);
  }
}
