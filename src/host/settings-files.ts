import { lstatSync, readdirSync, readFileSync, type Stats, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { restrictToSafe } from "../config/trust.ts";
import { type Assignment, FILE_LENGTH_MAX, parseUnitFile } from "../config/unit-file.ts";
import { BerthError } from "../errors.ts";
import { requireName } from "../spec/name.ts";
import type { Problem } from "../spec/problem.ts";
import { DEFAULT } from "../spec/source.ts";
import type { Paths } from "./paths.ts";

export interface FoundSettings {
  /** The file and its drop-ins, in the order they apply. */
  readonly files: readonly string[];
  readonly assignments: readonly Assignment[];
  readonly problems: readonly Problem[];
}

/**
 * Reads the settings of a machine. The first NAME.nspawn found counts, and every drop-in NAME.nspawn.d/*.conf, by
 * file name (systemd.nspawn(5)). Settings are trusted by place: see `places`.
 * @throws BerthError for one that is no file: without it the machine would be another one
 */
export function readSettings(name: string, paths: Paths, installation: string): FoundSettings {
  requireName(name, "-M");
  const [all, hidden] = readable(places(paths, installation));
  const main = all
    .map((place) => ({ ...place, path: join(place.directory, `${name}.nspawn`) }))
    .find(({ path }) => lstatSync(path, { throwIfNoEntry: false }) !== undefined);
  const dropIns = all
    .flatMap((place) => listDropIns(join(place.directory, `${name}.nspawn.d`), place.trusted))
    // One of the same file name in an earlier place stands for it (systemd.syntax(7), drop-ins).
    .filter((dropIn, index, list) => list.findIndex((other) => fileName(other) === fileName(dropIn)) === index);
  const found = [...(main === undefined ? [] : [main]), ...dropIns.sort(byFileName)];
  const read = found.map(({ path, trusted }) => readSettingsFile(path, trusted));
  return {
    files: found.map(({ path }) => path),
    assignments: read.flatMap(({ assignments }) => assignments),
    problems: [...hidden, ...read.flatMap(({ problems }) => problems)],
  };
}

/** Who plans without being root may not see every place: what is there is left out, and said. */
function readable(all: readonly Place[]): [readonly Place[], readonly Problem[]] {
  const [seen, hidden] = [all.filter(isReadable), all.filter((place) => !isReadable(place))];
  const what = (directory: string): string => `settings in ${directory} can't be read without root and are left out`;
  return [seen, hidden.map(({ directory }) => ({ severity: "warning", source: DEFAULT, what: what(directory) }))];
}

function isReadable({ directory }: Place): boolean {
  try {
    statSync(join(directory, "."), { throwIfNoEntry: false });
    return true;
  } catch {
    return false;
  }
}

/** One settings file; of an untrusted one only what is safe, the rest is named in warnings. */
export function readSettingsFile(path: string, trusted: boolean): Omit<FoundSettings, "files"> {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined)
    throw new BerthError(`${path}: no such file`, { hint: "settings files are named MACHINE.nspawn" });
  if (!stat.isFile()) throw new BerthError(`${path}: not a regular file`);
  if (stat.size > FILE_LENGTH_MAX)
    throw new BerthError(`${path}: has ${stat.size} bytes; settings files have at most ${FILE_LENGTH_MAX}`);
  const { assignments, problems } = parseUnitFile(readFileSync(path, "utf8"), path);
  if (trusted && isOurs(stat)) return { assignments, problems };
  const { kept, dropped } = restrictToSafe(assignments);
  return { assignments: kept, problems: [...problems, ...(trusted ? dropped.map(toTrust(path)) : dropped)] };
}

/** The place is right, the file is not. */
function toTrust(path: string): (problem: Problem) => Problem {
  const hint = `chown root:root ${path} && chmod go-w ${path} makes it trusted`;
  return (problem) => ({ ...problem, hint });
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
  return readdirSync(directory)
    .filter((name) => name.endsWith(".conf"))
    .map((name) => ({ path: join(directory, name), trusted }));
}

function byFileName(a: { path: string }, b: { path: string }): number {
  return fileName(a) < fileName(b) ? -1 : 1;
}

function fileName({ path }: { path: string }): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
