import { existsSync, ftruncateSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { lockFile, unlinkLocked, unlinkShared } from "../exec/lock-file.ts";
import type { Paths } from "../host/paths.ts";
import { printable } from "../spec/quote.ts";

/** What can be done with an image, as who comes second reads it: `image web is being removed`. */
export type Operation = "made" | "copied" | "renamed" | "removed" | "changed" | "rolled back" | "exported";

/** These only read the image: several may do so at a time. */
const READING: ReadonlySet<Operation> = new Set(["copied", "exported"]);

/**
 * Makes an operation on an image the only one: a kernel lock on a file that says what it is, which ends with this process
 * however that ends. Machines take no notice of it; what runs from a tree is hold-tree.ts's business.
 * @throws BerthError of kind Busy
 */
export function lockImage(paths: Paths, name: string, operation: Operation): Disposable {
  const path = join(paths.run, "images", name);
  const shared = READING.has(operation);
  const fd = lockFile(path, shared);
  if (fd === null) throw busy(name, path);
  ftruncateSync(fd);
  writeSync(fd, operation, 0);
  return { [Symbol.dispose]: () => (shared ? unlinkShared : unlinkLocked)(path, fd) };
}

/** Removes the files of those who were killed. */
export function sweepLocks(paths: Paths): void {
  const directory = join(paths.run, "images");
  for (const name of existsSync(directory) ? readdirSync(directory) : []) {
    const fd = lockFile(join(directory, name));
    if (fd !== null) unlinkLocked(join(directory, name), fd);
  }
}

function busy(name: string, path: string): BerthError {
  const operation = readOperation(path);
  const what = operation === "" ? "has something done to it" : `is being ${operation}`;
  return new BerthError(`image ${name} ${what}`, { hint: "try again when that has ended", kind: "Busy" });
}

/** Empty in the moment between lock and writing. */
function readOperation(path: string): string {
  try {
    return printable(readFileSync(path, "utf8").slice(0, 20));
  } catch {
    return "";
  }
}
