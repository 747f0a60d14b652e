import { expect, test } from "vitest";
import { idMapper } from "../../../src/copy/side.ts";

const RANGE = { base: 524288, size: 65536 };

test.each([
  ["to", 0, 524288],
  ["to", 1000, 525288],
  ["to", 65535, 589823],
  ["to", 65536, 589822],
  ["to", 4294967294, 589822],
  ["from", 524288, 0],
  ["from", 525288, 1000],
  ["from", 589823, 65535],
  ["from", 589824, 65534],
  ["from", 524287, 65534],
  ["from", 0, 65534],
] as const)("%s a machine with a range: %i is %i", (direction, id, mapped) => {
  expect(idMapper(RANGE, direction)(id)).toBe(mapped);
});

test("a range without a nobody makes root the owner of what is nobody's", () => {
  expect(idMapper({ base: 1000, size: 100 }, "to")(500)).toBe(1000);
});

test("without a range ids are the same on both sides", () => {
  for (const direction of ["to", "from"] as const) expect(idMapper(null, direction)(123456)).toBe(123456);
});
