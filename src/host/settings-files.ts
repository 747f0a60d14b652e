import { lstatSync, readdirSync, readFileSync, type Stats, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { type IgnoredSetting, restrictToSafe } from "../config/trust.ts";
import { type Assignment, FILE_LENGTH_MAX, parseUnitFile } from "../config/unit-file.ts";
import { BerthError, errorCode } from "../errors.ts";
import { requireName } from "../spec/name.ts";
import { suggest } from "../spec/nearest.ts";
import type { Problem } from "../spec/problem.ts";
import { DEFAULT } from "../spec/source.ts";
import type { Paths } from "./paths.ts";
import { findTree } from "./tree-place.ts";

/** One settings file, read. */
export interface SettingsFile {
  readonly path: string;
  readonly text: string;
  /** Why not all of it counts; null: it is trusted. */
  readonly distrust: string | null;
  /** What of it counts. */
  readonly assignments: readonly Assignment[];
  /** Those of its syntax. */
  readonly problems: readonly Problem[];
  /** A warning for each assignment that does not count. */
  readonly ignored: readonly IgnoredSetting[];
}

export interface FoundSettings {
  /** The file and its drop-ins, in the order they apply. */
  readonly files: readonly SettingsFile[];
  readonly assignments: readonly Assignment[];
  readonly problems: readonly Problem[];
}

/** --settings= of systemd-nspawn(1). `override` reads as `yes` does: it says which settings win. */
export type SettingsMode = "yes" | "no" | "override" | "trusted";

const NONE: FoundSettings = { files: [], assignments: [], problems: [] };

/**
 * Reads the settings of a machine. The first NAME.nspawn found counts, and every drop-in NAME.nspawn.d/*.conf, by
 * file name (systemd.nspawn(5)). Settings are trusted by place: see `places`.
 * @throws BerthError for one that is no file: without it the machine would be another one
 */
export function readSettings(
  name: string,
  paths: Paths,
  installation: string,
  mode: SettingsMode = "yes",
): FoundSettings {
  requireName(name, "-M");
  if (mode === "no") return NONE;
  const [all, hidden] = readable(places(paths, installation));
  const main = all
    .map((place) => ({ ...place, path: `${place.directory}/${name}.nspawn` }))
    .find(({ path }) => lstatSync(path, { throwIfNoEntry: false }) !== undefined);
  const dropIns = all
    .flatMap((place) => listDropIns(`${place.directory}/${name}.nspawn.d`, place.trusted))
    // One of the same file name in an earlier place stands for it (systemd.syntax(7), drop-ins).
    .filter((dropIn, index, list) => list.findIndex((other) => fileName(other) === fileName(dropIn)) === index);
  const found = [...(main === undefined ? [] : [main]), ...dropIns.sort(byFileName)];
  const files = found.map(({ path, trusted }) => readFile(path, trusted, paths, mode === "trusted"));
  return {
    files,
    assignments: files.flatMap(({ assignments }) => assignments),
    problems: [...hidden, ...files.flatMap(({ problems, ignored }) => [...problems, ...ignored])],
  };
}

/** Those of a machine that is asked for by its settings. @throws BerthError where it has none, too */
export function readMachineSettings(name: string, paths: Paths, installation: string): FoundSettings {
  const found = readSettings(name, paths, installation);
  if (found.files.length > 0) return found;
  if (findTree(paths.machines, name) !== null)
    throw new BerthError(`machine ${name} has no settings file`, { hint: `berth edit ${name} makes one` });
  const { files } = listSettingsFiles(paths, installation);
  const near = suggest(
    name,
    files.flatMap((file) => /([^/]+)\.nspawn$/.exec(file)?.[1] ?? []),
  );
  throw new BerthError(`machine ${name} has no settings file`, {
    hint: near ?? `it would be ${name}.nspawn in one of: ${settingsDirectories(paths, installation).join(", ")}`,
  });
}

/** Where a machine or a file may be named: no machine's name looks so, but one that ends as a settings file does. */
export function isSettingsPath(word: string): boolean {
  return /^\.|\/|\.(nspawn|conf)$/.test(word);
}

/** One settings file or drop-in by its path. What lies in no place of settings is taken for what is to be put into one. */
export function readSettingsFile(path: string, paths: Paths, installation: string): SettingsFile {
  const parent = dirname(resolve(path));
  const directory = parent.endsWith(".nspawn.d") ? dirname(parent) : parent;
  const place = places(paths, installation).find((each) => each.directory === directory);
  return readFile(path, place?.trusted ?? true, paths);
}

/** Every settings file and drop-in of every place, by place. A place that can't be looked into is a problem. */
export function listSettingsFiles(
  paths: Paths,
  installation: string,
): { files: readonly string[]; problems: readonly Problem[] } {
  const [all, hidden] = readable(places(paths, installation));
  const files = all.flatMap(({ directory, trusted }) =>
    list(directory).flatMap((name) => {
      const path = join(directory, name);
      if (name.endsWith(".nspawn")) return [path];
      return name.endsWith(".nspawn.d") ? listDropIns(path, trusted).map((dropIn) => dropIn.path) : [];
    }),
  );
  return { files, problems: hidden };
}

/** Where settings are looked for, in order. */
export function settingsDirectories(paths: Paths, installation: string): readonly string[] {
  return places(paths, installation).map(({ directory }) => directory);
}

/** Who plans without being root may not see every place: what is there is left out, and said. */
function readable(all: readonly Place[]): [readonly Place[], readonly Problem[]] {
  const seen = all.filter(isReadable);
  const hidden = all.filter((place) => !seen.includes(place));
  const what = (directory: string): string => `settings in ${directory} can't be read without root and are left out`;
  return [seen, hidden.map(({ directory }) => ({ severity: "warning", source: DEFAULT, what: what(directory) }))];
}

function isReadable({ directory }: Place): boolean {
  try {
    // Not by join(), which takes the dot away: that is looked up in the directory, not beside it.
    statSync(`${directory}/.`, { throwIfNoEntry: false });
    return true;
  } catch {
    return false;
  }
}

/** Of an untrusted one only what is safe counts, the rest is named in warnings; `trustAll`: who starts it says otherwise. */
function readFile(path: string, trustedPlace: boolean, paths: Paths, trustAll = false): SettingsFile {
  const [text, stat] = readText(path);
  const { assignments, problems } = parseUnitFile(text, path);
  const distrust = trustAll ? null : distrustOf(stat, trustedPlace);
  if (distrust === null) return { path, text, distrust, assignments, problems, ignored: [] };
  const { kept, dropped } = restrictToSafe(assignments, join(paths.etc, "machines"));
  return {
    path,
    text,
    distrust,
    assignments: kept,
    problems,
    ignored: trustedPlace ? dropped.map(toTrust(path)) : dropped,
  };
}

function distrustOf(stat: Stats, trustedPlace: boolean): string | null {
  if (!trustedPlace) return "it lies beside the trees, where it may have come with one";
  return isOurs(stat) ? null : "others than root may write to it";
}

function readText(path: string): [string, Stats] {
  try {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined)
      throw new BerthError(`${path}: no such file`, { hint: "settings files are named MACHINE.nspawn" });
    if (!stat.isFile()) throw new BerthError(`${path}: not a regular file`);
    if (stat.size > FILE_LENGTH_MAX)
      throw new BerthError(`${path}: has ${stat.size} bytes; settings files have at most ${FILE_LENGTH_MAX}`);
    return [readFileSync(path, "utf8"), stat];
  } catch (error) {
    throw forRoot(error, path);
  }
}

/** The same error, or a better one where only root may look. */
function forRoot(error: unknown, path: string): unknown {
  if (errorCode(error) !== "EACCES") return error;
  return new BerthError(`${path} can be read by root only`, { hint: "run this as root" });
}

/** The place is right, the file is not. */
function toTrust(path: string): (ignored: IgnoredSetting) => IgnoredSetting {
  const hint = `chown root:root ${path} && chmod go-w ${path} makes it trusted`;
  return (ignored) => ({ ...ignored, hint });
}

interface Place {
  readonly directory: string;
  readonly trusted: boolean;
}

/**
 * In order: /etc and /run of this root; of the installed berth also systemd-nspawn's, so that its files work as they
 * are; last, beside the trees. What lies there may have come with an image and is not trusted, but for a checkout's
 * own machines/, which is part of the program.
 */
function places(paths: Paths, installation: string): readonly Place[] {
  const ours = [join(paths.etc, "machines"), join(paths.run, "machines")];
  const nspawn = paths.etc === "/etc/berth" ? ["/etc/systemd/nspawn", "/run/systemd/nspawn"] : [];
  return [
    ...[...ours, ...nspawn].map((directory) => ({ directory, trusted: true })),
    { directory: paths.machines, trusted: dirname(paths.machines) === installation },
  ];
}

/** Written by root, or by the user who plans without being root, and by nobody else. */
function isOurs(stat: Stats): boolean {
  return [0, process.geteuid?.()].includes(stat.uid) && (stat.mode & 0o022) === 0;
}

function listDropIns(directory: string, trusted: boolean): { path: string; trusted: boolean }[] {
  const stat = statSync(directory, { throwIfNoEntry: false });
  if (stat === undefined) return [];
  if (!stat.isDirectory()) throw new BerthError(`${directory}: not a directory`);
  return list(directory)
    .filter((name) => name.endsWith(".conf"))
    .map((name) => ({ path: join(directory, name), trusted }));
}

/** What is not there has nothing in it. */
function list(directory: string): readonly string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw forRoot(error, directory);
  }
}

function byFileName(a: { path: string }, b: { path: string }): number {
  return fileName(a) < fileName(b) ? -1 : 1;
}

function fileName({ path }: { path: string }): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
