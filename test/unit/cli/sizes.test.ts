import { expect, test } from "vitest";
import { formatBytes, parseBytes } from "../../../src/cli/sizes.ts";

test("bytes are shown as systemd's tools show them", () => {
  expect([null, 0, 1023, 1024, 116_326_400, 2 ** 40, 2 ** 62].map(formatBytes)).toEqual([
    "-",
    "0B",
    "1023B",
    "1.0K",
    "110.9M",
    "1.0T",
    "4.0E",
  ]);
});

test("sizes are read with and without a unit", () => {
  expect(["4096", "1K", "1.5g", "10M", "2GiB", "-"].map(parseBytes)).toEqual([
    4096,
    1024,
    1.5 * 2 ** 30,
    10 << 20,
    2 ** 31,
    null,
  ]);
});

test.each(["", "0", "x", "1X", "-1", "1e9", "9999E", "NaN"])("%s is no size", (text) => {
  expect(() => parseBytes(text)).toThrow("is no size");
});
