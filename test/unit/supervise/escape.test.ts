import { expect, test } from "vitest";
import { EscapeDetector } from "../../../src/supervise/escape.ts";

const ESCAPE = "\x1d";

/** Whether each of these [time in ms, keys] was the third ^]. */
function type(...keys: readonly (readonly [number, string])[]): boolean[] {
  const detector = new EscapeDetector();
  return keys.map(([time, text]) => detector.feed(Buffer.from(text), time));
}

test("the third ^] within a second is the way out, typed one by one or in one chunk", () => {
  expect(type([0, ESCAPE], [400, ESCAPE], [900, ESCAPE])).toEqual([false, false, true]);
  expect(type([0, `${ESCAPE}${ESCAPE}${ESCAPE}`])).toEqual([true]);
  expect(type([0, `ls${ESCAPE}${ESCAPE}`], [10, `${ESCAPE}x`])).toEqual([false, true]);
});

test("a second that is over, or another key, starts anew", () => {
  expect(type([0, ESCAPE], [500, ESCAPE], [1000, ESCAPE])).toEqual([false, false, false]);
  expect(type([0, ESCAPE], [600, ESCAPE], [1200, ESCAPE], [1300, ESCAPE])).toEqual([false, false, false, true]);
  expect(type([0, ESCAPE], [1, ESCAPE], [2, "x"], [3, ESCAPE])).toEqual([false, false, false, false]);
  expect(type([0, `${ESCAPE}x${ESCAPE}x${ESCAPE}`])).toEqual([false]);
});

test("it works again after it was found, and nothing typed is nothing", () => {
  expect(type([0, ESCAPE.repeat(3)], [5000, ESCAPE], [5001, ""], [5002, ESCAPE], [5003, ESCAPE])).toEqual([
    ...[true, false, false, false, true],
  ]);
});
