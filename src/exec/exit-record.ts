import { readSync } from "node:fs";

/** How a machine ended, as its keeper wrote it down (stage.c: record_exit). */
export interface ExitRecord {
  /** exited: `status` is init's exit code; killed or dumped: the signal that ended it. */
  readonly reason: "exited" | "killed" | "dumped";
  readonly status: number;
  readonly pid: number;
  /** When, in ms since the epoch. */
  readonly time: number;
}

const VERSION = 1;
/** Bytes. They are reserved before the machine starts: how it ended is known even when the disk is full by then. */
export const EXIT_RECORD_SIZE = 24;
const REASONS: Readonly<Record<number, ExitRecord["reason"]>> = { 1: "exited", 2: "killed", 3: "dumped" };

/** Null: there is none, because the keeper itself was killed. */
export function readExitRecord(fd: number): ExitRecord | null {
  const record = Buffer.alloc(EXIT_RECORD_SIZE);
  if (readSync(fd, record, 0, EXIT_RECORD_SIZE, 0) < EXIT_RECORD_SIZE || record.readUInt32LE(0) !== VERSION)
    return null;
  const reason = REASONS[record.readInt32LE(4)];
  if (reason === undefined) return null;
  return {
    reason,
    status: record.readInt32LE(8),
    pid: record.readInt32LE(12),
    time: Number(record.readBigUInt64LE(16) / 1_000_000n),
  };
}
