import { describe, expect, test } from "vitest";
import type { Parse } from "../../../src/config/setting.ts";
import { timeout, timeSpan, timeSpanOrInfinity } from "../../../src/config/values-time.ts";

function read(parse: Parse<number | null>, value: string): unknown {
  const faults: string[] = [];
  const read = parse(value, ({ what, expected }) => faults.push(`${what}, expected ${expected}`));
  return read === undefined ? faults : read;
}

describe("a time span", () => {
  test.each([
    ["5", 5000],
    ["5s", 5000],
    ["0", 0],
    ["500ms", 500],
    ["2min 30s", 150_000],
    ["2min30s", 150_000],
    ["1.5 h", 5_400_000],
    ["1500us", 2],
    ["1d", 86_400_000],
    ["1w 1M", 604_800_000 + 2_629_800_000],
  ])("%s is %i ms", (value, expected) => {
    for (const parse of [timeSpan, timeSpanOrInfinity]) expect(read(parse, value)).toBe(expected);
    expect(read(timeout, value)).toBe(expected === 0 ? null : expected);
  });

  test.each(["", "-5", "5 parsecs", "s", "5s x", "1e3", "+5", "Infinity", "infinity 5s"])("is none: %j", (value) => {
    const faults = [`${JSON.stringify(value)} is no time span, expected seconds, or a time such as 2min 30s`];
    expect(read(timeSpan, value)).toEqual(faults);
    for (const parse of [timeSpanOrInfinity, timeout])
      expect(read(parse, value)).toEqual(faults.map((fault) => `${fault}, or infinity`));
  });

  test("is infinity where that means something", () => {
    expect([read(timeSpanOrInfinity, "infinity"), read(timeout, "infinity")]).toEqual([null, null]);
    expect(read(timeSpan, "infinity")).toHaveLength(1);
  });
});
