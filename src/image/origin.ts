import { mkdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Paths } from "../host/paths.ts";

/**
 * What an image was made from, as whoever made it has it to say: a file beside the images, as anything in a tree could
 * have been written by its machine. It goes where the image's settings go.
 */
export function originPath({ machines }: Pick<Paths, "machines">, name: string): string {
  return join(machines, ".berth-origins", `${name}.json`);
}

export function writeOrigin(paths: Pick<Paths, "machines">, name: string, text: string): void {
  const path = originPath(paths, name);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.new`, text, { mode: 0o600, flush: true });
  renameSync(`${path}.new`, path);
}

/** Null: nobody said. */
export function readOrigin(paths: Pick<Paths, "machines">, name: string): string | null {
  try {
    return readFileSync(originPath(paths, name), "utf8");
  } catch {
    return null;
  }
}

/** Of an image of that name that is not there any more, or is to be another. */
export function forgetOrigin(paths: Pick<Paths, "machines">, name: string): void {
  const path = originPath(paths, name);
  rmSync(path, { force: true });
  try {
    rmdirSync(dirname(path));
  } catch {
    // There are others', or nobody has any.
  }
}
