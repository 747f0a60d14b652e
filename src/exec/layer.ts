import { chmodSync, closeSync, constants, fstatSync, mkdirSync, openSync, rmdirSync } from "node:fs";
import { dirname } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import { removeTree } from "../host/remove-tree.ts";

/**
 * The directory that holds what an ephemeral machine changes. It lies beside the tree, where others may be allowed to
 * make and rename: what is in it wins over the tree, and its programs may be setuid. So it is one that berth has made,
 * known by its owner and mode, and from there on is worked on through its fd.
 */

/** Makes it anew, whatever was left there before. */
export function makeLayer(directory: string): void {
  try {
    mkdirSync(dirname(directory), { recursive: true, mode: 0o700 });
    mkdirSync(directory, 0o700);
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
    removeTree(directory);
    mkdirSync(directory, 0o700);
  }
}

/** An fd of it. @throws BerthError when it is none that berth has made */
export function openLayer(directory: string): number {
  let fd: number;
  try {
    fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    throw notOurs(directory, errorCode(error) === "ENOENT" ? "it is gone" : "it is no directory");
  }
  const { uid, mode } = fstatSync(fd);
  if (uid === process.geteuid?.() && (mode & 0o777) === 0o700) return fd;
  closeSync(fd);
  throw notOurs(directory, `owner ${uid}, mode ${(mode & 0o777).toString(8)} instead of ours, 700`);
}

/** The two parts that overlayfs wants, in a layer that is empty. */
export function divideLayer(fd: number): void {
  for (const part of ["data", "work"]) {
    const path = `/proc/self/fd/${fd}/${part}`;
    mkdirSync(path);
    // Whatever the umask is: data is the root directory of the overlay, and shows its mode inside.
    chmodSync(path, 0o755);
  }
}

/** Takes no process, which is 6 ms, where the machine has changed nothing. @throws BerthError */
export function removeLayer(directory: string): void {
  if (!removeEmpty(directory)) removeTree(directory);
}

function removeEmpty(directory: string): boolean {
  let fd: number | undefined;
  try {
    fd = openLayer(directory);
    // overlayfs makes the second work.
    for (const part of ["data", "work/work", "work"]) removePart(`/proc/self/fd/${fd}/${part}`);
    rmdirSync(directory);
    return true;
  } catch {
    return false;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function removePart(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
}

function notOurs(directory: string, why: string): BerthError {
  return new BerthError(`${directory} is not the layer that berth made: ${why}`, {
    hint: "somebody else may write beside the tree; keep trees where only root may",
  });
}
