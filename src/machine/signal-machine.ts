import { closeSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError, errorCode } from "../errors.ts";
import { killCgroup } from "../exec/cgroup.ts";
import { leftoversFile, readLeftovers } from "../exec/leftovers.ts";
import type { Paths } from "../host/paths.ts";
import { type ProcessId, startTimeOf } from "../host/process-id.ts";
import { monotonic } from "../sys/clock.ts";
import { whenReadable } from "../sys/poll.ts";
import { pidfdOpen, pidfdSendSignal } from "../sys/processes.ts";
import { isHeld, type MachineRecord, type UnknownMachine } from "./record.ts";

const SIGINT = 2;
const SIGKILL = 9;
const SIGTERM = 15;
/** For a supervisor to take away what is left of a machine. */
const PATIENCE_MS = 5000;

/** Sends a signal to a machine's PID 1, unless it has ended. */
export function signalMachine({ leader }: MachineRecord, signal: number): Promise<void> {
  return send(leader, signal);
}

/** Its supervisor asks whatever is PID 1 by then, and lets nothing boot any more. For a machine between two boots. */
export function stopSupervisor({ supervisor }: MachineRecord): Promise<void> {
  return send(supervisor, SIGTERM);
}

async function send(to: ProcessId, signal: number): Promise<void> {
  await withProcess(to, async (pidfd) => {
    pidfdSendSignal(pidfd, signal);
  });
}

/**
 * Resolves when a machine has ended and its supervisor has taken away what is left of it on the host, which makes its
 * name free again.
 */
export async function whenEnded({ leader, keeper, supervisor, managed }: MachineRecord): Promise<void> {
  await withProcess(leader, whenReadable);
  // A daemon goes on.
  await withProcess(managed ? keeper : supervisor, whenReadable);
}

/** Kills everything in a machine. */
export async function killMachine(machine: MachineRecord): Promise<void> {
  if (machine.state === "rebooting") {
    await stopSupervisor(machine);
    await send(machine.supervisor, SIGINT); // it may have booted just now: not asked for long, then
  }
  killCgroup(join(machine.cgroup, "payload"));
  await signalMachine(machine, SIGKILL);
  await whenEnded(machine);
}

/**
 * The same without a record: by the cgroups that its launch announced. Its supervisor notices and takes away the rest;
 * when it does not, its keeper is killed as well.
 */
export async function killUnknown({ name, file }: UnknownMachine, paths: Paths): Promise<void> {
  const steps = readLeftovers(dirname(file));
  const own = steps.flatMap((step) =>
    step.kind === "make-cgroup" || step.kind === "make-scope" ? [step.args.path] : [],
  );
  // What else is in a unit that was kept is not the machine's.
  const kept = steps.flatMap((step) => (step.kind === "use-unit" ? [step.args.path] : []));
  const cgroups = [...own, ...kept];
  if (cgroups.length === 0)
    throw new BerthError(
      `machine ${name} can't be found: ${leftoversFile(dirname(file))} is missing or damaged as well as ${file}`,
      {
        hint: `its processes are in a cgroup called ${name}, and the lock of its name is held by its keeper and supervisor`,
      },
    );
  for (const killed of [cgroups.map((cgroup) => join(cgroup, "payload")), own]) {
    for (const cgroup of killed) killCgroup(cgroup);
    if (await cameTrue(() => !isHeld(name, paths))) return;
  }
  throw new BerthError(`machine ${name} did not end: the lock of its name is still held`, {
    hint: `${cgroups.join(", ")} says by which processes`,
  });
}

/** Does something with a pidfd of a process, unless it has ended. */
async function withProcess({ pid, startTime }: ProcessId, use: (pidfd: number) => Promise<void>): Promise<void> {
  let pidfd: number;
  try {
    pidfd = pidfdOpen(pid);
  } catch (error) {
    if (errorCode(error) === "ESRCH") return;
    throw error;
  }
  try {
    if (startTimeOf(pid) === startTime) await use(pidfd);
  } finally {
    closeSync(pidfd);
  }
}

async function cameTrue(is: () => boolean): Promise<boolean> {
  const deadline = monotonic() + PATIENCE_MS;
  while (!is()) {
    if (monotonic() > deadline) return false;
    await sleep(20);
  }
  return true;
}
