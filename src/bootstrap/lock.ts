import { readFile } from "node:fs/promises";
import { BerthError } from "../errors.ts";
import { quote } from "../spec/quote.ts";

/** One installed package. */
export interface LockedPackage {
  readonly version: string;
  /** What the tool tells of the very package; null: nothing. */
  readonly digest: string | null;
}

/** By name, with the architecture behind it where a tree can have several: `libc6:amd64`. */
export type Packages = Readonly<Record<string, LockedPackage>>;

/** What was installed, and from where: what `--lock` writes, `--locked` wants again, and is kept beside the image. */
export interface Lock {
  readonly version: 1;
  readonly recipe: string;
  readonly release: string;
  readonly architecture: string;
  readonly tool: string;
  /** ISO 8601. */
  readonly created: string;
  /** Where the packages came from, as far as known: sources.list lines, repositories' addresses. */
  readonly sources: readonly string[];
  readonly packages: Packages;
}

const TEXTS = ["recipe", "release", "architecture", "tool", "created"] as const;

export function showLock(lock: Lock): string {
  const packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify({ ...lock, packages }, null, 2)}\n`;
}

/** @throws BerthError when it is none */
export async function readLock(path: string): Promise<Lock> {
  const text = await readFile(path, "utf8").catch((error: Error) => {
    throw new BerthError(`cannot read the lock file ${path}: ${error.message}`, { exitStatus: 2 });
  });
  const lock = parseLock(text);
  if (typeof lock === "object") return lock;
  throw new BerthError(`${path} is no lock file of berth's: ${lock}`, {
    hint: "berth bootstrap RECIPE NAME --lock FILE writes one",
    exitStatus: 2,
  });
}

/** Or what is wrong with it. */
export function parseLock(json: string): Lock | string {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  if (typeof value !== "object" || value === null) return "it is no object";
  const fields = new Map<string, unknown>(Object.entries(value));
  if (fields.get("version") !== 1) return `version ${quote(String(fields.get("version")))} is not 1`;
  const texts = new Map<string, string>();
  for (const name of TEXTS) {
    const value = fields.get(name);
    if (typeof value !== "string") return `${name} is missing`;
    texts.set(name, value);
  }
  const text = (name: (typeof TEXTS)[number]): string => texts.get(name) ?? "";
  const packages = packagesIn(fields.get("packages"));
  if (typeof packages === "string") return packages;
  const sources = fields.get("sources");
  return {
    version: 1,
    recipe: text("recipe"),
    release: text("release"),
    architecture: text("architecture"),
    tool: text("tool"),
    created: text("created"),
    sources: Array.isArray(sources) ? sources.map(String) : [],
    packages,
  };
}

/** A name or version with a space or a comma in it would be something else to a tool. */
const WORD = /^[A-Za-z0-9][A-Za-z0-9@._+:~^-]*$/;

export function packagesIn(value: unknown): Packages | string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "packages is no object";
  const packages: Record<string, LockedPackage> = {};
  for (const [name, entry] of Object.entries(value)) {
    const fields: ReadonlyMap<string, unknown> = new Map(Object.entries(Object(entry)));
    const [version, digest] = [fields.get("version"), fields.get("digest") ?? null];
    if (!WORD.test(name) || typeof version !== "string" || !WORD.test(version))
      return `package ${quote(name)} has no name or version`;
    packages[name] = { version, digest: typeof digest === "string" ? digest : null };
  }
  return packages;
}

/** What is not as it was locked, for people; [] = all of it is. */
export function differences(locked: Packages, installed: Packages): readonly string[] {
  const names = [...new Set([...Object.keys(locked), ...Object.keys(installed)])].sort();
  return names.flatMap((name) => {
    const [wanted, found] = [locked[name], installed[name]];
    if (wanted === undefined) return [`${name} ${found?.version} is not in it`];
    if (found === undefined) return [`${name} ${wanted.version} is no longer there`];
    if (found.version !== wanted.version) return [`${name} is ${found.version}, not ${wanted.version}`];
    const other = wanted.digest !== null && found.digest !== null && wanted.digest !== found.digest;
    return other ? [`${name} ${found.version} is another package of that version`] : [];
  });
}
