import { type BigIntStats, closeSync, lstatSync, openSync } from "node:fs";
import { setTimes } from "../sys/entries.ts";
import { O_DIRECTORY, renameExchange } from "../sys/files.ts";

/**
 * Gives each of two images the other's place. Unlike any other rename, XFS takes that for a change of directories which get another
 * one above them (xfs_cross_rename): the times of a tree's root stay what they were.
 */
export function exchangeImages(one: string, other: string): void {
  const [ofOne, ofOther] = [timesOf(one), timesOf(other)];
  renameExchange(one, other);
  keepTimes(other, ofOne);
  keepTimes(one, ofOther);
}

function timesOf(path: string): BigIntStats {
  return lstatSync(path, { bigint: true });
}

function keepTimes(path: string, before: BigIntStats): void {
  try {
    if (!before.isDirectory() || timesOf(path).mtimeNs === before.mtimeNs) return;
    const directory = openSync(path, O_DIRECTORY);
    try {
      setTimes(directory, before);
    } finally {
      closeSync(directory);
    }
  } catch {
    // They have been exchanged: who is told that it failed would undo what is done.
  }
}
