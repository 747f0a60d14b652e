import { lstatSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Paths } from "../../host/paths.ts";
import { syncPathNow } from "../../host/to-disk.ts";
import { renameExchange } from "../../sys/files.ts";
import { originPath } from "../origin.ts";
import { COPY, type CopiedSettings, copyOwned, settingsPlaces } from "../settings-follow.ts";

/** A settings file, or a directory of drop-ins, as it was: by its place, whatever the machine is called by then. */
export interface SavedSettings {
  /** Of the settings files. */
  readonly directory: string;
  /** `.nspawn` or `.nspawn.d` */
  readonly kind: string;
  /** Its name among the copies. */
  readonly copy: string;
}

/** Copies a machine's settings into `target`, which is made. */
export function saveSettings(paths: Paths, name: string, target: string): readonly SavedSettings[] {
  mkdirSync(target);
  return settingsPlaces(paths, name).flatMap(({ directory, kind, path }, index) => {
    if (!isThere(path)) return [];
    const copy = `${index}${kind}`;
    copyOwned(path, join(target, copy));
    return [{ directory, kind, copy }];
  });
}

/** Beside them: what the image was made from, where somebody said so. */
export function saveOrigin(paths: Paths, name: string, directory: string): void {
  const path = originPath(paths, name);
  if (isThere(path)) copyOwned(path, join(directory, ORIGIN));
}

const ORIGIN = "origin.json";

/** Makes a machine's settings what was saved in `from`, place by place, each whole or not at all; can be done again. Returns the directories. */
export function restoreSettings(
  paths: Paths,
  name: string,
  saved: readonly SavedSettings[],
  from: string,
): readonly string[] {
  return settingsPlaces(paths, name).flatMap(({ directory, kind, path }) => {
    const wanted = saved.find((each) => each.directory === directory && each.kind === kind);
    if (wanted !== undefined) putWhole(join(from, wanted.copy), path);
    else if (isThere(path)) rmSync(path, { recursive: true });
    else return [];
    return [directory];
  });
}

/** Gives `name` the settings that a snapshot has kept, where it has none of its own, and its origin. */
export function copySavedSettings(
  paths: Paths,
  { directory, settings }: { readonly directory: string; readonly settings: readonly SavedSettings[] },
  name: string,
): CopiedSettings {
  const made: string[] = [];
  const undo = (): void => {
    for (const path of made) rmSync(path, { recursive: true, force: true });
  };
  try {
    for (const place of settingsPlaces(paths, name)) {
      const saved = settings.find((each) => each.directory === place.directory && each.kind === place.kind);
      if (saved === undefined || isThere(place.path)) continue;
      putWhole(join(directory, "settings", saved.copy), place.path);
      made.push(place.path);
    }
    const origin = originPath(paths, name);
    if (isThere(join(directory, ORIGIN)) && !isThere(origin)) {
      mkdirSync(dirname(origin), { recursive: true, mode: 0o700 });
      putWhole(join(directory, ORIGIN), origin);
      made.push(origin);
    }
  } catch (error) {
    undo();
    throw error;
  }
  return { undo, removeOriginals: () => undefined };
}

function putWhole(source: string, target: string): void {
  mkdirSync(dirname(target), { recursive: true });
  const temporary = mkdtempSync(join(dirname(target), COPY));
  try {
    const copy = join(temporary, "copy");
    copyOwned(source, copy);
    if (isThere(target)) renameExchange(copy, target);
    else renameSync(copy, target);
    syncPathNow(dirname(target));
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
