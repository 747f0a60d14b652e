import { expect, test } from "vitest";
import { LogLines } from "../../../src/supervise/log-lines.ts";

function frame(time: number, text: string | Buffer) {
  return { time, data: Buffer.from(text) };
}

test("a line has the time when it was begun, and its end may come later", () => {
  const lines = new LogLines();
  expect(lines.feed([frame(1, "one\r\nt"), frame(2, "w")])).toEqual([{ time: 1, text: "one" }]);
  expect(lines.feed([frame(3, "o\n\nthree")])).toEqual([
    { time: 1, text: "two" },
    { time: 3, text: "" },
  ]);
  expect(lines.end()).toEqual([{ time: 3, text: "three" }]);
  expect(lines.end()).toEqual([]);
});

test("a character that is cut in two pieces is one", () => {
  const bytes = Buffer.from("ü\n");
  const lines = new LogLines();
  lines.feed([frame(1, bytes.subarray(0, 1))]);
  expect(lines.feed([frame(2, bytes.subarray(1))])).toEqual([{ time: 1, text: "ü" }]);
});

test("a line without an end is bounded", () => {
  const found = new LogLines().feed(Array.from({ length: 10 }, () => frame(1, "x".repeat(4000))));
  expect(found).toHaveLength(4);
  for (const { text } of found) expect(text).toHaveLength(8192);
});
