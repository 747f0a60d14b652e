import { existsSync } from "node:fs";
import { join } from "node:path";
import { attach, rendezvous } from "../exec/attachment.ts";
import { processId } from "../host/process-id.ts";
import { archiveBoot } from "../machine/history.ts";
import { LiveRecord } from "../machine/live-record.ts";
import { recordsDirectory } from "../machine/places.ts";
import {
  isHeld,
  lookUp,
  type MachineRecord,
  readSavedRecord,
  recordNames,
  restoreRecord,
  type UnknownMachine,
} from "../machine/record.ts";
import { killUnknown } from "../machine/signal-machine.ts";
import { sweep, sweepMachine } from "../machine/sweep.ts";
import { consoleTail } from "../supervise/console-log.ts";
import { hasBootEnd } from "../supervise/init-boot.ts";
import { ManagedBoot } from "./managed-boot.ts";
import type { ManagedMachine } from "./managed-machine.ts";
import { asPolicy } from "./policy.ts";
import type { SavedState } from "./state-file.ts";
import type { Surroundings } from "./surroundings.ts";
import { endOf, isDaemons } from "./unattended.ts";

type Make = (name: string, state?: SavedState) => ManagedMachine;

/**
 * What a daemon does first: it takes over the machines that run on from an earlier one, sees to the ends of those that
 * did not, goes on with restarts that were pending, and cleans up after the rest.
 */
export async function adoptMachines(surroundings: Surroundings, make: Make): Promise<void> {
  const { paths, log } = surroundings;
  const states = savedStates(surroundings);
  const adopt = async (name: string): Promise<void> => {
    try {
      if (await adoptOne(name, states.get(name), surroundings, make)) states.delete(name);
    } catch (error) {
      log("error", name, `could not be taken over: ${(error as Error).message}`);
    }
  };
  // All at once: a keeper that does not answer is waited for, and others may be stopped as well.
  await Promise.all(recordNames(paths).map(adopt));
  const say = (line: string): void => log("warn", null, line);
  const gone = sweep(paths, say, (record, name) => archiveBoot(record, name, paths));
  for (const name of gone) log("warn", name, "was left half-started or half-ended, and has been cleaned up");
  for (const state of states.values()) goOn(state, surroundings, make);
}

/** Of this boot of the host. */
function savedStates({ files, bootId, log }: Surroundings): Map<string, SavedState> {
  const all = files.readAll(({ file, fault, setAside }) =>
    log("warn", null, `${file} ${fault}${setAside === null ? ", and is left alone" : `: it is ${setAside} now`}`),
  );
  for (const state of all) if (state.bootId !== bootId) files.remove(state.name);
  return new Map(all.filter((state) => state.bootId === bootId).map((state) => [state.name, state]));
}

/** It was about to boot when the daemon ended; what has failed stays so, and what was to end has. */
function goOn(state: SavedState, { files, paths }: Surroundings, make: Make): void {
  if (state.failure === null && lookUp(state.name, paths) !== null) {
    // A `berth run` has it by now; or it could not be taken over, and what it is to do is for a later daemon.
    if (!isDaemons(state.name, paths)) files.remove(state.name);
    return;
  }
  const machine = make(state.name, state);
  if (state.next === "reboot") machine.resume({ kind: "reboot" });
  else if (state.next === "restart") machine.resume({ kind: "interrupted" });
  else if (state.failure === null) files.remove(state.name);
}

/** Whether it is seen to by that, whatever its state file says. */
async function adoptOne(
  name: string,
  state: SavedState | undefined,
  surroundings: Surroundings,
  make: Make,
): Promise<boolean> {
  const { paths, log } = surroundings;
  const directory = join(recordsDirectory(paths), name);
  const saved = readSavedRecord(name, paths);
  if (saved.state === "unknown" && !isHeld(name, paths)) return false; // for the sweep
  if (saved.state === "unknown" && !existsSync(rendezvous(directory))) return false; // of a `berth run`
  const found = saved.state === "unknown" ? restored(saved, surroundings) : saved;
  if (found.state === "unknown") {
    if (!found.fault.startsWith("is not there")) {
      log("error", name, `runs, but ${found.file} ${found.fault}`);
      return false;
    }
    log("warn", name, "was being started when an earlier daemon ended: it is killed");
    await killUnknown(found, paths);
    return false;
  }
  if (!found.managed || found.bootId !== surroundings.bootId) return false;
  const attachment = await attach(directory, { name, onRelease: (record) => archiveBoot(record, name, paths) });
  if (attachment === null) return ended(found, directory, state, surroundings, make);
  make(name, state).adopt((listener) => {
    const record = new LiveRecord(directory, found, listener);
    record.update({ supervisor: processId(process.pid) });
    record.notified({ ready: attachment.saidReady, status: undefined, stopping: attachment.saidStopping });
    return new ManagedBoot(attachment, record, !hasBootEnd(found.init));
  }, state?.next === "stop");
  log("info", name, `is taken over: PID 1 is ${found.leader.pid}`);
  return true;
}

function restored(found: UnknownMachine, { log }: Surroundings): MachineRecord | UnknownMachine {
  const { name, file, fault } = found;
  const restored = restoreRecord(found);
  if (restored === null) return found;
  const { record, setAside } = restored;
  log("warn", name, `${file} ${setAside === null ? "was gone" : `${fault}: it is ${setAside} now`}, and is made anew`);
  return record;
}

/** It ended while there was no daemon: by its own doing, as nobody could tell it to. False: it is to stay so. */
function ended(
  record: MachineRecord,
  directory: string,
  state: SavedState | undefined,
  { paths, log }: Surroundings,
  make: Make,
): boolean {
  const { name } = record;
  const end = endOf(record, paths);
  const tail = consoleTail(directory);
  const onRelease = (from: string): void => archiveBoot(from, name, paths);
  const stays = state?.next === "stop";
  if (!sweepMachine(name, paths, { onRelease, rebooting: end.kind === "reboot" && !stays })) return false;
  log("info", name, "ended while no daemon ran");
  if (stays) return false;
  const machine = make(name, state);
  machine.policy = asPolicy(record.policy);
  machine.resume(end, { tail, started: record.times.executedMonotonic });
  return true;
}
