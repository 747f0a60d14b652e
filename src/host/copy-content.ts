import { ftruncateSync, readSync, writeSync } from "node:fs";
import { BerthError } from "../errors.ts";
import { copyRange, nextData, nextHole, seekTo, shareData } from "../sys/copy-data.ts";

/** Bytes between two looks at whether anybody still waits. */
const CHUNK = 16 << 20;
const BUFFER = 1 << 20;
/** Of a file that says it has none: what the kernel makes up when it is read has no length before. */
const MADE_UP = 16 << 20;

export interface ContentOptions {
  /** What the file says it is. */
  readonly size: number;
  /** Called after each piece; what it throws ends the copy. */
  readonly onBytes: (count: number) => void;
}

/** Copies what is in a file, holes as holes, and where the file system can by sharing the data. */
export function copyContent(from: number, to: number, { size, onBytes }: ContentOptions): void {
  if (size === 0) {
    copyMadeUp(from, to, onBytes);
    return;
  }
  if (shareData(from, to)) {
    onBytes(size);
    return;
  }
  for (let offset = nextData(from, 0); offset !== null && offset < size; offset = nextData(from, offset)) {
    const end = Math.min(nextHole(from, offset) ?? offset, size);
    seekTo(from, offset);
    seekTo(to, offset);
    const copied = copyPiece(from, to, end - offset, onBytes);
    offset += copied;
    if (copied === 0) break; // it has become shorter
  }
  // What ends in a hole has no data there that would make it as long.
  ftruncateSync(to, size);
}

/** From where both files are. Returns how much there was of it. */
function copyPiece(from: number, to: number, length: number, onBytes: (count: number) => void): number {
  let done = 0;
  while (done < length) {
    const count = Math.min(CHUNK, length - done);
    // Some file systems say 0 where read(2) finds more.
    const copied = copyRange(from, to, count) || copyByHand(from, to, count);
    if (copied === 0) break;
    done += copied;
    onBytes(copied);
  }
  return done;
}

let buffer: Buffer | undefined;

function copyByHand(from: number, to: number, length: number): number {
  buffer ??= Buffer.allocUnsafeSlow(BUFFER);
  const count = readSync(from, buffer, 0, Math.min(BUFFER, length), null);
  for (let at = 0; at < count; ) at += writeSync(to, buffer, at, count - at, null);
  return count;
}

function copyMadeUp(from: number, to: number, onBytes: (count: number) => void): void {
  for (let left = MADE_UP; ; ) {
    const count = copyByHand(from, to, left + 1);
    if (count === 0) return;
    left -= count;
    if (left < 0) throw new BerthError(`it says that it is empty, and has more than ${MADE_UP >> 20} MiB`);
    onBytes(count);
  }
}
