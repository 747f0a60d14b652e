import { existsSync, ftruncateSync, readdirSync, readFileSync, realpathSync, writeSync } from "node:fs";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { lockFile, unlinkLocked } from "../exec/lock-file.ts";
import type { Paths } from "../host/paths.ts";
import { checkName } from "../spec/name.ts";
import { monotonic } from "../sys/clock.ts";
import { freeze, isFrozen } from "./freeze.ts";
import { listMachines, type MachineRecord, readRecord } from "./record.ts";

/** Where it is written which machines are held still; a file each, locked by who holds it. */
function directoryOf({ run }: Paths): string {
  return join(run, "still");
}

export interface Held<T> {
  readonly result: T;
  /** For how long it was still, ms. */
  readonly ms: number;
}

/**
 * Stops all processes of a machine, does something meanwhile, and lets them go on, whatever came of it. Should this
 * process be killed meanwhile, the next daemon does. One that ends before it is still needs not be stopped.
 * @throws BerthError of kind Busy
 */
export async function whileStill<T>(machine: MachineRecord, paths: Paths, act: () => Promise<T>): Promise<Held<T>> {
  using _held = hold(machine, paths);
  const begin = monotonic();
  await freeze(machine, true).catch(unlessEnded);
  try {
    const result = await act();
    return { result, ms: monotonic() - begin };
  } finally {
    // It may have been killed while it was still.
    await freeze(machine, false).catch(unlessEnded);
  }
}

function unlessEnded(error: unknown): void {
  if (!(error instanceof BerthError) || error.kind !== "NoSuchMachine") throw error;
}

/** Machines that may write to a tree; those that somebody has paused are still already. */
export function writersOf(tree: string, paths: Paths): readonly MachineRecord[] {
  return runningFrom(tree, paths).filter((machine) => machine.layer === null && !isFrozen(machine));
}

/** Machines with this tree for their root. */
export function runningFrom(tree: string, paths: Paths): readonly MachineRecord[] {
  const real = realPath(tree);
  return listMachines(paths).flatMap((machine) =>
    machine.state !== "unknown" && realPath(machine.root) === real ? [machine] : [],
  );
}

/** Lets machines go on that somebody held still who was killed. `say`: a line about each. */
export async function releaseStill(paths: Paths, say: (machine: string) => void): Promise<void> {
  const directory = directoryOf(paths);
  for (const name of existsSync(directory) ? readdirSync(directory) : []) {
    const path = join(directory, name);
    const fd = checkName(name) === undefined ? lockFile(path) : null;
    if (fd === null) continue; // it is held
    const record = readRecord(name, paths);
    // Another boot was not stopped.
    if (record !== null && readFileSync(path, "utf8") === bootOf(record)) {
      await freeze(record, false).catch(() => undefined); // it has just ended
      say(name);
    }
    unlinkLocked(path, fd);
  }
}

function hold(machine: MachineRecord, paths: Paths): Disposable {
  const path = join(directoryOf(paths), machine.name);
  const fd = lockFile(path);
  if (fd === null)
    throw new BerthError(`machine ${machine.name} is having a snapshot made of it`, {
      kind: "Busy",
      hint: "try again when that has ended",
    });
  ftruncateSync(fd);
  writeSync(fd, bootOf(machine), 0);
  return { [Symbol.dispose]: () => unlinkLocked(path, fd) };
}

/** Which boot of a machine that is. */
export function bootOf({ leader }: Pick<MachineRecord, "leader">): string {
  return `${leader.pid} ${leader.startTime}`;
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path; // its tree was taken away under it
  }
}
