import { type BigIntStats, chmodSync, fstatSync, openSync } from "node:fs";
import { BerthError, errorCode } from "../../errors.ts";
import { copyContent } from "../../host/copy-content.ts";
import { visible } from "../../spec/quote.ts";
import { O_CREAT, O_EXCL, O_NOCTTY, O_NONBLOCK, O_PATH, O_RDONLY, O_WRONLY } from "../../sys/constants.ts";
import {
  entriesOf,
  linkFile,
  makeNode,
  makeSymlink,
  openBelow,
  readLinkBytes,
  removeDirectory,
  removeEntry,
  setEntryTimes,
  setTimes,
} from "../../sys/entries.ts";
import { closeQuietly, O_DIRECTORY } from "../../sys/files.ts";
import { changeOwner, getAttribute, listAttributes, removeAttribute, setAttribute } from "../../sys/owners.ts";

/** One entry of a tree as it is, by fds alone: owner, mode, times and every extended attribute, whoever's it is. */

const PLAIN = O_RDONLY | O_NOCTTY;

/**
 * What is no directory, and is open with O_PATH, as `name` in a directory where nothing of that name is. `isStill`: whoever has a lease on
 * it (fcntl(2)) can't give it up.
 */
export function putEntry(from: number, stat: BigIntStats, directory: number, name: Buffer, isStill: boolean): void {
  if (stat.isFile()) {
    putFile(from, stat, directory, name, isStill);
    return;
  }
  if (stat.isSymbolicLink()) makeSymlink(readLinkBytes(from), directory, name);
  else makeNode(directory, name, Number(stat.mode), stat.rdev);
  const copy = openBelow(directory, name, O_PATH);
  try {
    setAttributes(from, copy, stat);
    setEntryTimes(directory, name, stat);
  } finally {
    closeQuietly(copy);
  }
}

function putFile(from: number, stat: BigIntStats, directory: number, name: Buffer, isStill: boolean): void {
  const source = openFile(from, name, isStill);
  let copy = -1;
  try {
    copy = openBelow(directory, name, O_WRONLY | O_CREAT | O_EXCL, 0o600);
    // What was empty a moment ago may be growing without end.
    if (stat.size > 0n) copyContent(source, copy, { size: Number(stat.size), onBytes: () => undefined });
    setAttributes(from, copy, stat);
    setTimes(copy, stat);
  } finally {
    for (const fd of [source, copy]) if (fd >= 0) closeQuietly(fd);
  }
}

/** Waits for the end of somebody's lease, which the kernel takes from them after 45 s, unless that is in vain. */
function openFile(from: number, name: Buffer, isStill: boolean): number {
  try {
    return openSync(`/proc/self/fd/${from}`, isStill ? PLAIN | O_NONBLOCK : PLAIN);
  } catch (error) {
    if (errorCode(error) !== "EAGAIN") throw error;
    throw new BerthError(
      `a process of the machine has a lease on ${visible(name.toString())}, and was stopped with it`,
    );
  }
}

/** Of an open directory to an open one. */
export function likeDirectory(from: number, to: number): void {
  const stat = fstatSync(from, { bigint: true });
  setAttributes(from, to, stat);
  setTimes(to, stat);
}

/** All but times, which come last. */
function setAttributes(from: number, to: number, stat: BigIntStats): void {
  changeOwner(to, Number(stat.uid), Number(stat.gid));
  // After the owner, whose change takes set-user-ID bits and capabilities; before the ACL, whose mask it would change.
  if (!stat.isSymbolicLink()) chmodSync(`/proc/self/fd/${to}`, Number(stat.mode) & 0o7777);
  const names = listAttributes(from);
  for (const name of names) {
    const value = getAttribute(from, name);
    if (value !== null) setAttribute(to, name, value);
  }
  // An ACL that it has from the directory that it was made in.
  for (const name of listAttributes(to)) if (!names.includes(name)) removeIfCan(to, name);
}

/** A label that a security module gives to all that is made can't be. */
function removeIfCan(fd: number, name: string): void {
  try {
    removeAttribute(fd, name);
  } catch (error) {
    if (!name.startsWith("security.") && errorCode(error) !== "ENODATA") throw error;
  }
}

/** A further name. False: the file can have no more. */
export function putLink(fd: number, directory: number, name: Buffer): boolean {
  try {
    linkFile(fd, directory, name);
    return true;
  } catch (error) {
    if (errorCode(error) === "EMLINK") return false;
    throw error;
  }
}

/** With all in it, should it be there. */
export function removeAll(directory: number, name: Buffer): void {
  try {
    removeEntry(directory, name);
    return;
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT") return;
    if (code !== "EISDIR") throw error;
  }
  const inner = openBelow(directory, name, O_RDONLY | O_DIRECTORY);
  try {
    for (const each of [...entriesOf(inner)]) removeAll(inner, each);
  } finally {
    closeQuietly(inner);
  }
  removeDirectory(directory, name);
}
