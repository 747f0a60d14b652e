import { randomBytes } from "node:crypto";
import { errorCode } from "../errors.ts";
import { O_CREAT, O_EXCL, O_PATH, O_RDWR, O_WRONLY, RENAME_NOREPLACE } from "../sys/constants.ts";
import {
  linkFile,
  makeSymlink,
  openBelow,
  openNameless,
  removeEntry,
  renameEntry,
  setEntryTimes,
} from "../sys/entries.ts";
import { closeQuietly } from "../sys/files.ts";
import { changeOwner } from "../sys/owners.ts";
import type { Attributes } from "./attributes.ts";

/** Where something new appears, at once and whole or not at all. */
export interface Place {
  readonly directory: number;
  readonly name: Buffer;
  /** What is there is replaced, unless it is a directory. */
  readonly replace: boolean;
}

/**
 * A new file that `fill` has written. Until it has its name it has none, so nobody else comes by it and nothing is left of
 * it however this ends; a file system that has no such files gets one beside its place for as long.
 */
export function putFile(place: Place, fill: (fd: number) => void): void {
  const fd = openNameless(place.directory, O_RDWR, 0o600);
  if (fd === null) {
    putNamedFile(place, fill);
    return;
  }
  try {
    fill(fd);
    putLink(place, fd);
  } finally {
    closeQuietly(fd);
  }
}

/** Another name for a file. */
export function putLink({ directory, name, replace }: Place, fd: number): void {
  try {
    linkFile(fd, directory, name);
    return;
  } catch (error) {
    if (!replace || errorCode(error) !== "EEXIST") throw error;
  }
  throughTemporary({ directory, name, replace }, (temporary) => linkFile(fd, directory, temporary));
}

export function putSymlink(place: Place, target: Buffer, { uid, gid, times }: Attributes): void {
  throughTemporary(place, (temporary) => {
    makeSymlink(target, place.directory, temporary);
    const fd = openBelow(place.directory, temporary, O_PATH);
    try {
      changeOwner(fd, uid, gid);
    } finally {
      closeQuietly(fd);
    }
    setEntryTimes(place.directory, temporary, times);
  });
}

/** The way of file systems that have no nameless files. */
export function putNamedFile(place: Place, fill: (fd: number) => void): void {
  throughTemporary(place, (temporary) => {
    const fd = openBelow(place.directory, temporary, O_WRONLY | O_CREAT | O_EXCL, 0o600);
    try {
      fill(fd);
    } finally {
      closeQuietly(fd);
    }
  });
}

function throughTemporary({ directory, name, replace }: Place, make: (temporary: Buffer) => void): void {
  const temporary = Buffer.from(`.berth-copy-${randomBytes(8).toString("hex")}`);
  try {
    make(temporary);
    if (replace) renameEntry(directory, temporary, name, 0);
    else renameToNew(directory, temporary, name);
  } catch (error) {
    try {
      removeEntry(directory, temporary);
    } catch {
      // it was never made
    }
    throw error;
  }
}

function renameToNew(directory: number, temporary: Buffer, name: Buffer): void {
  try {
    renameEntry(directory, temporary, name, RENAME_NOREPLACE);
    return;
  } catch (error) {
    // What a file system says that does not know the flag.
    if (errorCode(error) !== "EINVAL") throw error;
  }
  const fd = openBelow(directory, temporary, O_PATH);
  try {
    linkFile(fd, directory, name);
  } finally {
    closeQuietly(fd);
  }
  removeEntry(directory, temporary);
}
