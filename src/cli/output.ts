import { writeSync } from "node:fs";
import { errorCode } from "../errors.ts";
import { visible, visibleJson } from "../spec/quote.ts";

/**
 * What verbs say. Written at once and whole: nothing is left to flush when berth ends, and Node's streams, which take
 * 3 ms to load, are left to those who need them.
 */

/** Exit status of what was ended by ^C or its like. */
export const INTERRUPTED = 130;

/** A verb's result, on stdout. @throws what write(2) says: EPIPE when nobody reads it */
export function print(text: string | Buffer): void {
  writeAll(1, typeof text === "string" ? Buffer.from(text) : text);
}

/** A verb's result as one JSON document, which does nothing to a terminal either. */
export function printJson(value: unknown): void {
  print(`${visibleJson(value, 2)}\n`);
}

/** News, warnings and errors, on stderr. Nobody is left to tell when that is gone. */
export function say(text: string): void {
  try {
    writeAll(2, Buffer.from(text));
  } catch {
    // a closed pipe, a terminal that was hung up
  }
}

/** A line of news. */
export function tell(line: string): void {
  say(`berth: ${visible(line)}\n`);
}

/** What failed, and what to do about it. Line breaks that are ours come before another problem, or are indented. */
export function complain(message: string, hint?: string): void {
  const lines = message.split(/\n(?=berth: | {2})/);
  say(`berth: ${lines.map(visible).join("\n")}\n`);
  if (hint !== undefined) say(`hint: ${visible(hint)}\n`);
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let rest = bytes; rest.length > 0; ) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      // Somebody made the pipe or terminal non-blocking, and it is full.
      if (errorCode(error) !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}
