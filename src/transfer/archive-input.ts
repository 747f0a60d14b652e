import { fstatSync, openSync, readSync } from "node:fs";
import { runCommand } from "../host/command.ts";
import { closeQuietly, offsetOf } from "../sys/files.ts";
import { type Compression, compressionOf, MAGIC_LENGTH } from "./compression.ts";

/** An archive that is open for reading: a file, a pipe, a socket. */
export interface ArchiveInput {
  readonly fd: number;
  readonly compression: Compression;
  /** What was read of a pipe to find that out: it has to come before the rest. */
  readonly head: Buffer;
  /** How much of it has been read, 0 to 1; null where that can't be known. */
  fraction(): number | null;
}

/** Looks at the first bytes. */
export async function openArchive(fd: number, signal: AbortSignal): Promise<ArchiveInput> {
  const stat = fstatSync(fd);
  if (!stat.isFile()) {
    const head = await readHead(fd, signal);
    return { fd, head, compression: compressionOf(head), fraction: () => null };
  }
  const start = offsetOf(fd);
  const head = Buffer.alloc(MAGIC_LENGTH);
  const length = readSync(fd, head, 0, head.length, start);
  return {
    fd,
    head: Buffer.alloc(0),
    compression: compressionOf(head.subarray(0, length)),
    // Who reads it shares the offset with us.
    fraction: () => (stat.size > start ? Math.min(1, (offsetOf(fd) - start) / (stat.size - start)) : 1),
  };
}

/** By a child, as a read that waits for a pipe can't be taken back in our own process; byte by byte, to read no more. */
async function readHead(fd: number, signal: AbortSignal): Promise<Buffer> {
  const lines: string[] = [];
  const script = `dd bs=1 count=${MAGIC_LENGTH} 2>/dev/null | od -An -v -tx1`;
  await runCommand("sh", ["-c", script], { stdin: fd, signal, onLine: (line) => lines.push(line) });
  return Buffer.from(lines.join("").replace(/\s/g, ""), "hex");
}

/** An archive in a file, open as long as it is used. */
export function openArchiveFile(path: string): Disposable & { input(signal: AbortSignal): Promise<ArchiveInput> } {
  const fd = openSync(path, "r");
  return { input: (signal) => openArchive(fd, signal), [Symbol.dispose]: () => closeQuietly(fd) };
}
