import { expect, test } from "vitest";
import { backgroundOption } from "../../../src/config/background.ts";
import { UsageError } from "../../../src/errors.ts";

test.each([
  ["40", [0, 0, 0]],
  ["44", [0, 0, 238]],
  ["107", [255, 255, 255]],
  ["100", [127, 127, 127]],
  ["48;5;0", [0, 0, 0]],
  ["48;5;15", [255, 255, 255]],
  ["48;5;16", [0, 0, 0]],
  ["48;5;17", [0, 0, 95]],
  ["48;5;110", [135, 175, 215]],
  ["48;5;231", [255, 255, 255]],
  ["48;5;232", [8, 8, 8]],
  ["48;5;255", [238, 238, 238]],
  ["48;2;1;20;255", [1, 20, 255]],
])("%s is %j", (text, colour) => {
  expect(backgroundOption(text)).toEqual(colour);
});

test("nothing is no colour", () => {
  expect(backgroundOption("")).toBeNull();
});

test.each([
  "48",
  "38;5;1",
  "0",
  "48;5",
  "48;5;256",
  "48;5;1;2",
  "48;2;1;2",
  "48;2;1;2;256",
  "44;1",
  "108",
  "blue",
  "44m",
  " 44",
  "48;2;1;2;3;4",
  "\x1b[44m",
  "48;;5",
])("%j is none", (text) => {
  expect(() => backgroundOption(text)).toThrow(UsageError);
});
