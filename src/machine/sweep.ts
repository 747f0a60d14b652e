import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type RemoveOptions, removeLeftovers } from "../exec/leftovers.ts";
import { lockFile, unlinkLocked } from "../exec/lock-file.ts";
import { setAsideDamaged } from "../exec/range-ledger.ts";
import type { Paths } from "../host/paths.ts";
import { ledgerPath } from "../host/ranges.ts";
import { visible } from "../spec/quote.ts";
import { isLocked } from "../sys/file-lock.ts";
import { recordsDirectory } from "./places.ts";
import { readRecord } from "./record.ts";

/**
 * Removes what machines left whose supervisor was killed, be it in the midst of a launch: record, cgroup, range, an
 * ephemeral machine's changes. The name's lock tells: the keeper holds it as long as it lives. What can't be cleaned up
 * is said, and left for the next time: it is nobody else's trouble. Returns the names of those that are gone.
 */
export function sweep(
  paths: Paths,
  say: (line: string) => void,
  onRelease?: (record: string, name: string) => void,
): readonly string[] {
  const attempt = (what: string, act: () => boolean): boolean => {
    try {
      return act();
    } catch (error) {
      say(visible(`could not ${what}: ${error instanceof Error ? error.message : String(error)}`));
      return false;
    }
  };
  const ledger = ledgerPath(paths.machines);
  attempt(`set ${ledger} aside`, () => {
    const damaged = setAsideDamaged(ledger);
    if (damaged !== null) say(`${ledger} was damaged and is ${damaged} now: machines get new ranges of ids`);
    return damaged !== null;
  });
  const names = list(recordsDirectory(paths));
  for (const name of list(locksDirectory(paths)))
    if (!names.includes(name)) attempt(`remove the lock of machine ${name}`, () => removeStaleLock(name, paths));
  return names.filter((name) =>
    attempt(`clean up after machine ${name}`, () =>
      sweepMachine(name, paths, onRelease && { onRelease: (record) => onRelease(record, name) }),
    ),
  );
}

/** Of a start that was killed before it had made its record. */
function removeStaleLock(name: string, paths: Paths): boolean {
  const path = lockPath(name, paths);
  const lock = lockFile(path);
  if (lock !== null) unlinkLocked(path, lock);
  return lock !== null;
}

/** False: the machine runs. */
export function sweepMachine(name: string, paths: Paths, options: RemoveOptions = {}): boolean {
  const path = lockPath(name, paths);
  const lock = lockFile(path);
  if (lock === null) return false;
  try {
    const record = join(recordsDirectory(paths), name);
    // Somebody may have removed the lock of a machine that runs: its keeper and supervisor hold its exit record as well.
    if (isLocked(join(record, "exit")) || readRecord(name, paths) !== null) return false;
    removeLeftovers(record, options);
    return true;
  } finally {
    unlinkLocked(path, lock);
  }
}

function lockPath(name: string, paths: Paths): string {
  return join(locksDirectory(paths), name);
}

function locksDirectory({ run }: Paths): string {
  return join(run, "locks");
}

function list(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
