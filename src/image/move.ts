import { lstatSync } from "node:fs";
import { BerthError, errorCode } from "../errors.ts";
import { renameNoReplace } from "../sys/files.ts";
import type { FoundImage } from "./discover.ts";
import { alreadyThere } from "./workspace.ts";

/** The kernel renames nothing that is marked read-only, so the mark is taken away, and put back if `marked`. */
export function moveImage(image: FoundImage, target: string, marked: boolean): void {
  const { path, driver } = image;
  const readOnly = unmark(image);
  try {
    renameNoReplace(path, target);
  } catch (error) {
    if (readOnly) driver.setReadOnly(path, true);
    if (errorCode(error) === "EEXIST") throw alreadyThere(target);
    throw errorCode(error) === "EBUSY" || errorCode(error) === "EXDEV" ? isMountPoint(path) : error;
  }
  if (readOnly && marked) driver.setReadOnly(target, true);
}

/** Answers whether it was marked. A link stands for an image elsewhere, which is left as it is. */
export function unmark({ path, driver }: FoundImage): boolean {
  const readOnly = !lstatSync(path).isSymbolicLink() && driver.read(path).readOnly;
  if (readOnly) driver.setReadOnly(path, false);
  return readOnly;
}

function isMountPoint(path: string): BerthError {
  return new BerthError(`${path} can't be moved: something is mounted there`, {
    hint: `umount ${path}`,
    kind: "Busy",
  });
}
