import { cpSync, lchownSync, lstatSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { INSTALLATION } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { settingsDirectories } from "../host/settings-files.ts";
import { syncPathNow } from "../host/to-disk.ts";
import { renameNoReplace } from "../sys/files.ts";
import { originPath } from "./origin.ts";

/** A machine's settings in one place: its file, or the directory of its drop-ins. */
const KINDS = [".nspawn", ".nspawn.d"];

/** Hidden, so that nobody takes it for settings. */
export const COPY = ".berth-settings-";
/** ms */
const COPY_TIME = 60_000;

export interface CopiedSettings {
  /** Takes the copies away again. */
  undo(): void;
  /** Makes of the copies what the originals were. */
  removeOriginals(): void;
}

/**
 * Gives `to` the settings of `from`, place by place, each whole or not at all. What `to` has already stays: somebody wrote
 * it for the machine to come.
 */
export function copySettings(paths: Paths, from: string, to: string): CopiedSettings {
  const made: (readonly [from: string, to: string])[] = [];
  const remove = (which: 0 | 1) => (): void => {
    for (const pair of made) rmSync(pair[which], { recursive: true, force: true });
  };
  const [removeOriginals, undo] = [remove(0), remove(1)];
  try {
    for (const [source, target] of pairs(paths, from, to)) {
      if (!isThere(source) || isThere(target)) continue;
      copyWhole(source, target);
      made.push([source, target]);
    }
  } catch (error) {
    undo();
    throw error;
  }
  return { undo, removeOriginals };
}

/** Those that have changed since `since`, ms since 1970: older ones were written for whatever has that name. */
export function removeSettings(paths: Paths, name: string, since = 0): void {
  for (const [path] of pairs(paths, name, name)) {
    if ((lstatSync(path, { throwIfNoEntry: false })?.ctimeMs ?? -1) < since) continue;
    rmSync(path, { recursive: true, force: true });
    syncPathNow(dirname(path));
  }
}

/** Where a machine's settings are or could be. */
export function settingsPlaces(
  paths: Paths,
  name: string,
): readonly { readonly directory: string; readonly kind: string; readonly path: string }[] {
  return settingsDirectories(paths, INSTALLATION).flatMap((directory) =>
    KINDS.map((kind) => ({ directory, kind, path: join(directory, `${name}${kind}`) })),
  );
}

function pairs(paths: Paths, from: string, to: string): readonly (readonly [string, string])[] {
  const targets = settingsPlaces(paths, to);
  const settings = settingsPlaces(paths, from).map(({ path }, index) => [path, targets[index]?.path ?? path] as const);
  return [...settings, [originPath(paths, from), originPath(paths, to)]];
}

/** Removes copies that nobody finished: they take no time. */
export function sweepCopies(paths: Paths): void {
  const old = Date.now() - COPY_TIME;
  for (const directory of settingsDirectories(paths, INSTALLATION).filter(isThere))
    for (const name of readdirSync(directory).filter((entry) => entry.startsWith(COPY))) {
      const path = join(directory, name);
      if ((lstatSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Infinity) < old)
        rmSync(path, { recursive: true, force: true });
    }
}

function copyWhole(source: string, target: string): void {
  const temporary = mkdtempSync(join(dirname(target), COPY));
  try {
    const copy = join(temporary, "copy");
    copyOwned(source, copy);
    renameNoReplace(copy, target);
    syncPathNow(dirname(target));
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** With owners: by them it is decided whether settings are trusted. */
export function copyOwned(source: string, target: string): void {
  cpSync(source, target, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
  const names = lstatSync(source).isDirectory() ? readdirSync(source, { recursive: true, encoding: "utf8" }) : [];
  for (const name of ["", ...names]) {
    const { uid, gid } = lstatSync(join(source, name));
    lchownSync(join(target, name), uid, gid);
    // A name that comes to the disk before what is in it would be an empty file after a power cut.
    if (!lstatSync(join(target, name)).isSymbolicLink()) syncPathNow(join(target, name));
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
