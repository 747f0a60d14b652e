import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { recordsDirectory } from "./places.ts";

/** Boots of a machine whose console and exit are kept, besides the one that runs. */
const BOOTS_MAX = 5;
/** Files of a record directory that are of use when the machine has ended; first the one without which it is none. */
const KEPT = ["record.json", "exit", "console.log.1", "console.log", "plan.json"];

/** Where what earlier boots of a machine left is kept, until the host's next boot: a directory a boot, `1`, `2`, ... */
export function historyDirectory(name: string, paths: Paths): string {
  return join(paths.run, "history", name);
}

/**
 * Moves what a boot left from its record directory, which is about to be removed, and forgets the oldest one beyond
 * BOOTS_MAX. What can't be kept, on a disk that is full, is lost: that must not keep a machine from ending.
 */
export function archiveBoot(record: string, name: string, paths: Paths): void {
  if (!existsSync(join(record, "record.json"))) return; // it never ran
  try {
    const directory = historyDirectory(name, paths);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const boots = archivedBoots(name, paths);
    const target = join(directory, String((boots.at(-1) ?? 0) + 1));
    mkdirSync(target, { mode: 0o700 });
    for (const file of KEPT) move(join(record, file), join(target, file));
    for (const old of boots.slice(0, Math.max(0, boots.length + 1 - BOOTS_MAX)))
      rmSync(join(directory, String(old)), { recursive: true, force: true });
  } catch {
    // see above
  }
}

/** Numbers of the boots that are kept, oldest first. */
export function archivedBoots(name: string, paths: Paths): readonly number[] {
  let names: string[];
  try {
    names = readdirSync(historyDirectory(name, paths));
  } catch {
    return [];
  }
  return names
    .filter((each) => /^[1-9][0-9]{0,8}$/.test(each))
    .map(Number)
    .sort((a, b) => a - b);
}

/** A boot of which something is known. */
export interface KnownBoot {
  /** 0 is the one that runs now, -1 the last one that ended, and so on. */
  readonly boot: number;
  readonly directory: string;
}

/** All of them, newest first. @throws EACCES for who may not know */
export function knownBoots(name: string, paths: Paths): readonly KnownBoot[] {
  const running = join(recordsDirectory(paths), name);
  const isThere = statSync(running, { throwIfNoEntry: false }) !== undefined;
  const ended = archivedBoots(name, paths).toReversed();
  return [
    ...(isThere ? [{ boot: 0, directory: running }] : []),
    ...ended.map((number, index) => ({
      boot: -1 - index,
      directory: join(historyDirectory(name, paths), String(number)),
    })),
  ];
}

/** Of a machine that is removed or renamed. */
export function forgetHistory(name: string, paths: Paths): void {
  rmSync(historyDirectory(name, paths), { recursive: true, force: true });
}

function move(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
}
