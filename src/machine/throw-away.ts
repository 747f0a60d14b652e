import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Paths } from "../host/paths.ts";
import { checkName, requireName } from "../spec/name.ts";
import { randomId } from "../sys/random.ts";

/**
 * Machines that run from a throw-away copy of another one's tree, with that one's settings: by a file each that says whose, from
 * before they are started until they have ended, so that the next daemon knows as well.
 */
const DIRECTORY = "throw-away";
const NAME_MAX = 64;
const RANDOM = 8;

/** Null: the machine is none of these, and runs from the tree of its own name. */
export function throwAwayImage(name: string, { run }: Paths): string | null {
  const file = `${run}/${DIRECTORY}/${name}`;
  if (checkName(name) !== undefined || !existsSync(file)) return null;
  const image = readFileSync(file, "utf8");
  return checkName(image) === undefined ? image : null;
}

/** The tree that a machine of this name runs from. */
export function treeName(name: string, paths: Paths): string {
  return throwAwayImage(name, paths) ?? name;
}

/** A new one, which is still to be started; its name. */
export function makeThrowAway(image: string, { run }: Paths): string {
  requireName(image);
  const name = throwAwayName(image);
  mkdirSync(join(run, DIRECTORY), { recursive: true, mode: 0o700 });
  writeFileSync(join(run, DIRECTORY, name), image, { mode: 0o600, flag: "wx" });
  return name;
}

/** For one more machine from the tree of that name. */
export function throwAwayName(tree: string): string {
  return `${tree.slice(0, NAME_MAX - 1 - RANDOM)}-${randomId().slice(0, RANDOM)}`;
}

export function dropThrowAway(name: string, { run }: Paths): void {
  rmSync(join(run, DIRECTORY, name), { force: true });
}

export function listThrowAways({ run }: Paths): readonly string[] {
  const directory = join(run, DIRECTORY);
  return existsSync(directory) ? readdirSync(directory).filter((name) => checkName(name) === undefined) : [];
}
