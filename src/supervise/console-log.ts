import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "../errors.ts";
import { consoleText } from "../spec/console-text.ts";
import { LogLines } from "./log-lines.ts";

/** A piece of what a machine said on its console. */
export interface Frame {
  /** When it was said, ms since the epoch. */
  readonly time: number;
  readonly data: Buffer;
}

/** What the keeper logs into, and what it has moved away last; oldest first. */
export const LOG_FILES = ["console.log.1", "console.log"] as const;

/** u64 time in ns, u32 length, u32 zero: what stage.c, log_frame, writes before each piece. */
const HEAD = 16;
/** struct frame of stage.c is a page. */
const DATA_MAX = 4096 - HEAD;
const TAIL_LINES = 10;
/** Bytes of a line that is quoted, with what colours it and the empty ones around it. */
const LINE_BYTES = 2048;
/** Columns of a line that is quoted. */
const WIDTH_MAX = 200;

/** Finds the pieces in a log that is read in parts. What a full disk has cut off is passed over. */
export class FrameParser {
  #rest: Buffer = Buffer.alloc(0);

  feed(bytes: Buffer): readonly Frame[] {
    const log = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const frames: Frame[] = [];
    let [at, lost] = [0, false];
    while (at + HEAD <= log.length) {
      const length = frameAt(log, at);
      if (length === undefined || (lost && !isPlausible(timeAt(log, at)))) {
        [at, lost] = [at + 1, true];
        continue;
      }
      lost = false;
      const end = at + HEAD + length;
      if (end > log.length) break;
      frames.push({ time: timeAt(log, at), data: log.subarray(at + HEAD, end) });
      at = end;
    }
    this.#rest = Buffer.from(log.subarray(at));
    return frames;
  }

  /** The last piece, as far as it was written. */
  end(): readonly Frame[] {
    const log = this.#rest;
    if (log.length <= HEAD || frameAt(log, 0) === undefined) return [];
    return [{ time: timeAt(log, 0), data: log.subarray(HEAD) }];
  }
}

/** Length of the piece whose head is there; undefined: that is no head. */
function frameAt(log: Buffer, at: number): number | undefined {
  const length = log.readUInt32LE(at + 8);
  return log.readUInt32LE(at + 12) === 0 && length > 0 && length <= DATA_MAX ? length : undefined;
}

/** From 2001 to 2100: with a part of something else in it, it is not. */
function isPlausible(time: number): boolean {
  return time > 1e12 && time < 4.1e12;
}

function timeAt(log: Buffer, at: number): number {
  return Number(log.readBigUInt64LE(at) / 1_000_000n);
}

/** All that is kept of a boot's console, by its record directory. */
export function readConsole(directory: string): readonly Frame[] {
  return LOG_FILES.flatMap((file) => {
    const parser = new FrameParser();
    return [...parser.feed(readAll(join(directory, file))), ...parser.end()];
  });
}

/** The last lines that a machine said on its console, by its record directory, fit for a terminal; none if nothing can be read. */
export function consoleTail(directory: string, count = TAIL_LINES): readonly string[] {
  const lines = new LogLines();
  try {
    const last = endOf(readConsole(directory), count * LINE_BYTES);
    const all = [...lines.feed(last), ...lines.end()].map(({ text }) => consoleText(text));
    return all
      .filter((line) => line.trim() !== "")
      .slice(-count)
      .map(cut);
  } catch {
    return [];
  }
}

/** Of a log of nothing but short lines, half a million of them, the others are not looked at. */
function endOf(frames: readonly Frame[], bytes: number): readonly Frame[] {
  let [first, length] = [frames.length, 0];
  while (first > 0 && length < bytes) length += frames[--first]?.data.length ?? 0;
  return frames.slice(first);
}

function cut(line: string): string {
  return line.length > WIDTH_MAX ? `${line.slice(0, WIDTH_MAX)}…` : line;
}

/** As far as it is written now. */
function readAll(path: string): Buffer {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return Buffer.alloc(0);
    throw error;
  }
  try {
    const bytes = Buffer.allocUnsafe(fstatSync(fd).size);
    return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, 0));
  } finally {
    closeSync(fd);
  }
}
