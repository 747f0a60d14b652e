import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { consoleTail } from "../../../src/supervise/console-log.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "log-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

function piece(text: string): Buffer {
  const head = Buffer.alloc(16);
  head.writeUInt32LE(Buffer.byteLength(text), 8);
  return Buffer.concat([head, Buffer.from(text)]);
}

function write(...parts: Buffer[]): void {
  writeFileSync(join(directory, "console.log"), Buffer.concat(parts));
}

test("the last lines, put together from pieces and made printable", () => {
  write(piece("one\r\ntw"), piece("o\r\n\r\n"), piece("\u001b[31mthree"));
  expect(consoleTail(directory, 2)).toEqual(["two", "\\u{1b}[31mthree"]);
  expect(consoleTail(directory, 9)).toHaveLength(3);
});

test("a log that is cut, or none, does no harm", () => {
  write(piece("whole\n"), piece("cut off").subarray(0, 20));
  expect(consoleTail(directory, 9)).toEqual(["whole", "cut "]);
  write(Buffer.alloc(7));
  expect(consoleTail(directory, 9)).toEqual([]);
  expect(consoleTail(join(directory, "nowhere"), 9)).toEqual([]);
});
