import { existsSync, ftruncateSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import { lockFile, unlinkLocked } from "../exec/lock-file.ts";
import { type Paths, realPath } from "../host/paths.ts";
import { isAlive } from "../host/process-id.ts";
import { checkName } from "../spec/name.ts";
import { monotonic } from "../sys/clock.ts";
import { isLocked } from "../sys/file-lock.ts";
import { freeze, isFrozen, letGo, wasLetGo } from "./freeze.ts";
import { listMachines, type MachineRecord, readRecord } from "./record.ts";

/** Where it is written which machines are held still; a file each, locked by who holds it. */
function directoryOf({ run }: Paths): string {
  return join(run, "still");
}

export interface Held<T> {
  readonly result: T;
  /** For how long it was still, ms; null: it was paused. */
  readonly ms: number | null;
}

/**
 * Stops all processes of a machine, does something meanwhile, and lets them go on, whatever came of it. Should this
 * process be killed meanwhile, the next daemon does. One that ends before it is still needs not be stopped, and one that is
 * paused stays so.
 * @throws BerthError of kind Busy, also where somebody let it go on meanwhile
 */
export async function whileStill<T>(machine: MachineRecord, paths: Paths, act: () => Promise<T>): Promise<Held<T>> {
  using held = hold(machine, paths);
  const isPaused = isFrozen(machine);
  const begin = monotonic();
  if (!isPaused) {
    held.note();
    await freeze(machine, true).catch(unlessEnded);
  }
  try {
    const result = await act();
    if (wasLetGo(machine) && isAlive(machine.leader)) throw letGo(machine);
    return { result, ms: isPaused ? null : monotonic() - begin };
  } finally {
    // It may have been killed while it was still.
    if (!isPaused) await freeze(machine, false).catch(unlessEnded);
  }
}

/** @throws BerthError of kind Busy while it is held still: it stays as it is until that has ended */
export function refuseHeld({ name }: MachineRecord, paths: Paths): void {
  if (isHeld(name, paths)) throw isBusy(name);
}

/** Resolves when nobody holds it still, or when it has ended. */
export async function untilLetGo({ name, leader }: MachineRecord, paths: Paths): Promise<void> {
  while (isHeld(name, paths) && isAlive(leader)) await sleep(LOOK_MS);
}

function unlessEnded(error: unknown): void {
  if (!(error instanceof BerthError) || error.kind !== "NoSuchMachine") throw error;
}

/** Machines that may write to a tree, once those that somebody has paused go on. */
export function writersOf(tree: string, paths: Paths): readonly MachineRecord[] {
  return runningFrom(tree, paths).filter(({ layer }) => layer === null);
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

interface Hold extends Disposable {
  /** Writes down which boot is to go on, should we be killed. */
  note(): void;
}

function hold(machine: MachineRecord, paths: Paths): Hold {
  const path = join(directoryOf(paths), machine.name);
  const fd = lockFile(path);
  if (fd === null) throw isBusy(machine.name);
  ftruncateSync(fd);
  const note = (): void => void writeSync(fd, bootOf(machine), 0);
  return { note, [Symbol.dispose]: () => unlinkLocked(path, fd) };
}

function isHeld(name: string, paths: Paths): boolean {
  return isLocked(join(directoryOf(paths), name));
}

function isBusy(name: string): BerthError {
  return new BerthError(`machine ${name} is having a snapshot made of it`, {
    kind: "Busy",
    hint: "try again when that has ended",
  });
}

/** Between two looks, ms. */
const LOOK_MS = 10;

/** Which boot of a machine that is. */
export function bootOf({ leader }: Pick<MachineRecord, "leader">): string {
  return `${leader.pid} ${leader.startTime}`;
}
