import { describe, expect, test } from "vitest";
import { LIMITS } from "../../../src/config/settings-limits.ts";

function read(key: string, value: string): unknown {
  const faults: string[] = [];
  const limit = LIMITS[key]?.parse(value, ({ what, offset }) => faults.push(`${what}${offset ? ` @${offset}` : ""}`));
  return limit === undefined ? faults : [limit.soft, limit.hard];
}

describe("limits", () => {
  test.each([
    ["LimitNOFILE", "5", [5, 5]],
    ["LimitNOFILE", "1024:4096", [1024, 4096]],
    ["LimitNOFILE", "5:infinity", [5, null]],
    ["LimitNOFILE", "infinity", [null, null]],
    ["LimitCORE", "0", [0, 0]],
    ["LimitCORE", "1K:1.5G", [1024, 1610612736]],
    ["LimitFSIZE", "1G 500M", [1598029824, 1598029824]],
    ["LimitAS", "8E", ["`8E` is no"]],
    ["LimitCPU", "30", [30, 30]],
    ["LimitCPU", "1min 30s:2h", [90, 7200]],
    ["LimitCPU", "1500ms", [2, 2]],
    ["LimitRTTIME", "200", [200, 200]],
    ["LimitRTTIME", "200ms:1s", [200000, 1000000]],
    ["LimitRTTIME", "3\u00b5s", [3, 3]],
    ["LimitNICE", "+19", [1, 1]],
    ["LimitNICE", "-5:-10", [25, 30]],
    ["LimitNICE", "-20", [40, 40]],
    ["LimitNICE", "0", [0, 0]],
    ["LimitNICE", "40", [40, 40]],
  ])("%s=%s", (key, value, expected) => {
    if (typeof expected[0] !== "string") expect(read(key, value)).toEqual(expected);
    else expect(read(key, value)).toHaveLength(1);
  });

  test.each([
    ["LimitNOFILE", "1K", ['"1K" is no value of this limit']],
    ["LimitNOFILE", "-1", ['"-1" is no value of this limit']],
    ["LimitNOFILE", "5:x", ['"x" is no value of this limit @2']],
    ["LimitNOFILE", "8:5", [`the soft limit "8" is above the hard limit "5"`]],
    ["LimitNOFILE", "infinity:5", [`the soft limit "infinity" is above the hard limit "5"`]],
    ["LimitNOFILE", "5:", ['"" is no value of this limit @2']],
    ["LimitNPROC", "99999999999999999999", ['"99999999999999999999" is no value of this limit']],
    ["LimitFSIZE", "500M 1G", ['"500M 1G" is no value of this limit']],
    ["LimitFSIZE", "1k", ['"1k" is no value of this limit']],
    ["LimitCPU", "5 parsecs", ['"5 parsecs" is no value of this limit']],
    ["LimitCPU", "5 toString", ['"5 toString" is no value of this limit']],
    ["LimitNICE", "+20", ['"+20" is no value of this limit']],
    ["LimitNICE", "-21", ['"-21" is no value of this limit']],
    ["LimitNICE", "41", ['"41" is no value of this limit']],
  ])("%s=%s is refused", (key, value, faults) => {
    expect(read(key, value)).toEqual(faults);
  });

  test("of three parts, or of any length, are refused in no time", () => {
    expect(read("LimitNOFILE", "1:2:3")).toHaveLength(3);
    expect(read("LimitCPU", "1 ".repeat(500_000))).toHaveLength(1);
  });
});
