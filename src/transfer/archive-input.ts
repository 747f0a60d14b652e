import { fstatSync, openSync, readSync } from "node:fs";
import { BerthError, errorCode } from "../errors.ts";
import { runCommand } from "../host/command.ts";
import { mountOfFd } from "../host/mount-table.ts";
import { isLocal } from "../image/file-systems.ts";
import { closeQuietly, offsetOf, skip } from "../sys/files.ts";
import { type Compression, compressionOf, MAGIC_LENGTH } from "./compression.ts";

/** An archive that is open for reading: a file, a pipe, a socket. */
export interface ArchiveInput {
  readonly fd: number;
  readonly compression: Compression;
  /** What was read of a pipe to find that out: it has to come before the rest. */
  readonly head: Buffer;
  /** It can be read once only, and `head` of it has been. */
  readonly isPipe: boolean;
  /** Bytes that it has on its disk; null where that can't be known. */
  readonly allocated: number | null;
  /** How much of it has been read, 0 to 1; null where that can't be known. */
  fraction(): number | null;
}

/** Looks at the first bytes. */
export async function openArchive(fd: number, signal: AbortSignal): Promise<ArchiveInput> {
  const { file, head } = await lookAt(fd, signal);
  const compression = compressionOf(head);
  if (file === null) return { fd, head, compression, isPipe: true, allocated: null, fraction: () => null };
  const { size, allocated } = file;
  skip(fd, -head.length);
  const start = offsetOf(fd);
  // Who reads it shares the offset with us.
  const fraction = (): number => (size > start ? Math.min(1, (offsetOf(fd) - start) / (size - start)) : 1);
  return { fd, head: Buffer.alloc(0), compression, isPipe: false, allocated, fraction };
}

/** Bytes that st_blocks of stat(2) counts in. */
const BLOCK = 512;

/** What it is, and its first bytes: one by one, to read no more of a pipe. By its fd, as its path may be for others only. */
const LOOK = `
stat -c 'is %F, %s, %b, %B' -
dd bs=1 count=${MAGIC_LENGTH} 2>/dev/null | od -An -v -tx1
`;

/** A regular file on a local disk answers at once. Null: it is something else. */
function lookHere(fd: number): Look | null {
  const mount = mountOfFd(fd);
  if (mount === null || !isLocal(mount)) return null;
  const stat = fstatSync(fd);
  if (!stat.isFile()) return null;
  const head = Buffer.alloc(MAGIC_LENGTH);
  const length = readHead(fd, head);
  return { file: { size: stat.size, allocated: stat.blocks * BLOCK }, head: head.subarray(0, length) };
}

/** @throws BerthError: it is open for writing only, or its disk is damaged */
function readHead(fd: number, head: Buffer): number {
  try {
    return readSync(fd, head, 0, head.length, null);
  } catch (error) {
    throw new BerthError(`the archive can't be read: ${errorCode(error) ?? error}`, { cause: error });
  }
}

/** By a child: a read that waits for a pipe, or for a file system that does not answer, can't be taken back, and must not hold us up. */
async function lookAt(fd: number, signal: AbortSignal): Promise<Look> {
  const here = lookHere(fd);
  if (here !== null) return here;
  const lines: string[] = [];
  await runCommand("sh", ["-c", LOOK], { stdin: fd, signal, onLine: (line) => lines.push(line) });
  const [size, blocks, each] =
    lines
      .map((line) => /^is regular (?:empty )?file, (\d+), (\d+), (\d+)$/.exec(line)?.slice(1).map(Number))
      .find((numbers) => numbers !== undefined) ?? [];
  const digits = lines.filter((line) => /^[ 0-9a-f]+$/.test(line)).join("");
  return {
    file: size === undefined || blocks === undefined || each === undefined ? null : { size, allocated: blocks * each },
    head: Buffer.from(digits.replace(/\s/g, ""), "hex"),
  };
}

interface Look {
  /** Bytes; null: it is no regular file. */
  readonly file: { readonly size: number; readonly allocated: number } | null;
  readonly head: Buffer;
}

/** An archive in a file, open as long as it is used. */
export function openArchiveFile(path: string): Disposable & { input(signal: AbortSignal): Promise<ArchiveInput> } {
  const fd = openSync(path, "r");
  return { input: (signal) => openArchive(fd, signal), [Symbol.dispose]: () => closeQuietly(fd) };
}
