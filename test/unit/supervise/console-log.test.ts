import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { consoleTail, type Frame, FrameParser } from "../../../src/supervise/console-log.ts";

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

test("the last lines, put together from pieces and without what would act on a terminal", () => {
  write(piece("one\r\ntw"), piece("o\r\n\r\n"), piece("\u001b[31mthree"));
  expect(consoleTail(directory, 2)).toEqual(["two", "three"]);
  expect(consoleTail(directory, 9)).toHaveLength(3);
});

test("the last lines of a log of nothing but ends of lines come as fast", () => {
  const many = piece("\n".repeat(4000));
  const timeOf = (pieces: number): number => {
    write(...Array.from({ length: pieces }, () => many), piece("last\n"));
    const began = process.cpuUsage();
    expect(consoleTail(directory, 9)).toEqual(["last"]);
    const { user, system } = process.cpuUsage(began);
    return user + system;
  };
  timeOf(25); // the first one compiles
  // Where all are looked at it is ten times, and some seconds.
  expect(timeOf(250) / timeOf(25)).toBeLessThan(5);
});

test("a log that is cut, or none, does no harm", () => {
  write(piece("whole\n"), piece("cut off").subarray(0, 20));
  expect(consoleTail(directory, 9)).toEqual(["whole", "cut "]);
  write(Buffer.alloc(7));
  expect(consoleTail(directory, 9)).toEqual([]);
  expect(consoleTail(join(directory, "nowhere"), 9)).toEqual([]);
});

const NOW = Date.parse("2026-11-26T12:00:00.123Z");

function timed(text: string, time = NOW): Buffer {
  const bytes = piece(text);
  bytes.writeBigUInt64LE(BigInt(time) * 1_000_000n);
  return bytes;
}

function texts(frames: readonly Frame[]): string[] {
  return frames.map(({ data }) => data.toString());
}

test("the older file comes first", () => {
  writeFileSync(join(directory, "console.log.1"), piece("old\nbeg"));
  write(piece("un\nnew\n"));
  expect(consoleTail(directory, 9)).toEqual(["old", "begun", "new"]);
});

test("pieces are found in parts of any size, with their times", () => {
  const log = Buffer.concat([timed("one"), timed("two", NOW + 5), timed("x".repeat(4080))]);
  for (const size of [1, 7, 16, 17, 1000]) {
    const parser = new FrameParser();
    const frames: Frame[] = [];
    for (let at = 0; at < log.length; at += size) frames.push(...parser.feed(log.subarray(at, at + size)));
    expect(texts(frames)).toEqual(["one", "two", "x".repeat(4080)]);
    expect(frames.map(({ time }) => time)).toEqual([NOW, NOW + 5, NOW]);
  }
});

test("behind a piece that a full disk has cut off the others are found again", () => {
  const whole = timed("abc");
  const pieces = Array.from({ length: 500 }, (_, index) => timed(`line ${index}`));
  for (let cut = 1; cut < whole.length; cut++) {
    const parser = new FrameParser();
    const found = texts(parser.feed(Buffer.concat([whole.subarray(0, cut), ...pieces])));
    expect(found.slice(-3), `${cut} bytes`).toEqual(["line 497", "line 498", "line 499"]);
  }
});
