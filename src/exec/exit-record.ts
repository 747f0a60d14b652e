import { closeSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "../errors.ts";
import { type ExitStatus, exitStatus } from "../sys/processes.ts";

/** How a machine ended, as its keeper wrote it down (stage.c: record_exit). */
export interface ExitRecord extends ExitStatus {
  readonly pid: number;
  /** When, in ms since the epoch. */
  readonly time: number;
}

const VERSION = 1;
/** Bytes. They are reserved before the machine starts: how it ended is known even when the disk is full by then. */
export const EXIT_RECORD_SIZE = 24;

/** The one in a record directory, of a machine that ended while nobody supervised it. Null as below, or where it can't be read. */
export function exitRecordIn(directory: string): ExitRecord | null {
  let fd: number | undefined;
  try {
    fd = openSync(join(directory, "exit"), "r");
    return readExitRecord(fd);
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return null;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Null: there is none, because the keeper itself was killed. */
export function readExitRecord(fd: number): ExitRecord | null {
  const record = Buffer.alloc(EXIT_RECORD_SIZE);
  if (readSync(fd, record, 0, EXIT_RECORD_SIZE, 0) < EXIT_RECORD_SIZE || record.readUInt32LE(0) !== VERSION)
    return null;
  const ended = exitStatus(record.readInt32LE(4), record.readInt32LE(8));
  if (ended === null) return null;
  return {
    ...ended,
    pid: record.readInt32LE(12),
    time: Number(record.readBigUInt64LE(16) / 1_000_000n),
  };
}
