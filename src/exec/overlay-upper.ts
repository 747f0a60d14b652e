import { chownSync, closeSync, mkdirSync, openSync, rmdirSync } from "node:fs";
import { BerthError } from "../errors.ts";
import { removeTree } from "../host/remove-tree.ts";
import type { StepOf } from "../plan/step.ts";
import { O_PATH, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV } from "../sys/constants.ts";
import { SysError } from "../sys/errno.ts";
import { O_DIRECTORY, openat2 } from "../sys/files.ts";
import { cloneTree } from "../sys/mounts.ts";

type Upper = StepOf<"open-upper">["args"];

/** The directory that has an overlay's upper layer and, beside it, what the kernel works in: made here, and removed by `removeWork`. */
export function openUpper(upper: Upper, made: () => void): number {
  const directory = openDirectory(upper);
  try {
    closeSync(openData(directory, upper));
    const here = `/proc/self/fd/${directory}`;
    mkdirSync(`${here}/${upper.work}`, 0o700);
    made();
    chownSync(`${here}/${upper.work}`, upper.owner, upper.owner);
    return cloneTree(here, false);
  } finally {
    closeSync(directory);
  }
}

/** Fine if nothing is there. */
export function removeWork(upper: Pick<Upper, "path" | "inside" | "work">): void {
  let directory: number;
  try {
    directory = openDirectory(upper);
  } catch {
    return; // gone, and the work directory with it
  }
  try {
    if (!removeEmpty(`/proc/self/fd/${directory}/${upper.work}`))
      removeTree(`/proc/${process.pid}/fd/${directory}/${upper.work}`);
  } finally {
    closeSync(directory);
  }
}

/** As overlayfs leaves it: without a process to start. */
function removeEmpty(work: string): boolean {
  try {
    for (const path of [`${work}/work`, work]) rmdirSync(path);
    return true;
  } catch {
    return false;
  }
}

/** In a tree, which is not trusted, with it as root. */
function openDirectory({ path, inside }: Pick<Upper, "path" | "inside">): number {
  const directory = openSync(path, O_PATH | O_DIRECTORY);
  if (inside === null) return directory;
  try {
    return openat2(directory, inside, O_PATH | O_DIRECTORY, RESOLVE_IN_ROOT);
  } finally {
    closeSync(directory);
  }
}

function openData(directory: number, { data }: Upper): number {
  try {
    return openat2(directory, data, O_PATH | O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
  } catch (error) {
    if (!(error instanceof SysError) || error.code !== "EXDEV") throw error;
    throw new BerthError(
      `${data} is a mount point, and the kernel wants a work directory beside it on the same file system`,
      {
        hint: "a directory in it would do",
      },
    );
  }
}
