import { readFileSync } from "node:fs";
import { join } from "node:path";
import { printable } from "../spec/quote.ts";

/** Time, length, zero: what stage.c, log_frame, writes before each piece. */
const HEAD = 16;
/** Columns of a line that is quoted. */
const WIDTH_MAX = 200;

/** The last lines that a machine said on its console, by its record directory, fit for a terminal; none if nothing can be read. */
export function consoleTail(directory: string, count: number): readonly string[] {
  const lines = textOf(read(join(directory, "console.log"))).split(/[\r\n]+/);
  return lines
    .filter((line) => line.trim() !== "")
    .slice(-count)
    .map((line) => printable(line.slice(0, WIDTH_MAX)));
}

function textOf(log: Buffer): string {
  const pieces: Buffer[] = [];
  for (let at = 0; at + HEAD <= log.length; ) {
    const end = at + HEAD + log.readUInt32LE(at + 8);
    pieces.push(log.subarray(at + HEAD, end));
    at = end;
  }
  return Buffer.concat(pieces).toString("utf8");
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0);
  }
}
