import { describe, expect, test } from "vitest";
import { countFreeRanges, parseIdMap, parseSubordinateIds } from "../../../src/host/id-ranges.ts";
import { parseMachineId, timezoneOfLink } from "../../../src/host/identity.ts";
import { atLeast, hasCapability, parseEffectiveCapabilities, parseKernelVersion } from "../../../src/host/kernel.ts";
import { parseHardLimits } from "../../../src/host/limits.ts";
import { parseOsRelease } from "../../../src/host/os-release.ts";
import { RLIMIT_NAMES } from "../../../src/plan/facts.ts";
import { hybrid, unified } from "./samples.ts";

describe("kernel", () => {
  test.each([
    ["6.1.0-18-amd64", [6, 1]],
    ["6.18.44-fc-v669", [6, 18]],
    ["5.14", [5, 14]],
    ["7.0-rc1", [7, 0]],
    ["strange", [0, 0]],
  ])("version of %s", (release, version) => {
    expect(parseKernelVersion(release)).toEqual(version);
  });

  test("versions compare as numbers, not as text", () => {
    expect(atLeast([6, 10], [6, 9])).toBe(true);
    expect(atLeast([6, 1], [6, 1])).toBe(true);
    expect(atLeast([5, 19], [6, 1])).toBe(false);
    expect(atLeast([7, 0], [6, 18])).toBe(true);
  });

  test("effective capabilities, not the permitted or bounding ones", () => {
    const status = "CapInh:\t0\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000201000\nCapBnd:\t000001ffffffffff\n";
    const hex = parseEffectiveCapabilities(status);
    expect(hex).toBe("0000000000201000");
    expect([12, 21, 24].map((bit) => hasCapability(hex, bit))).toEqual([true, true, false]);
    expect(hasCapability(parseEffectiveCapabilities(hybrid.files["/proc/self/status"] ?? ""), 24)).toBe(false);
    expect(hasCapability(parseEffectiveCapabilities(hybrid.files["/proc/self/status"] ?? ""), 40)).toBe(true);
  });
});

describe("limits", () => {
  test("the hard column, by prlimit names", () => {
    const limits = parseHardLimits(unified.files["/proc/self/limits"] ?? "");
    expect(Object.keys(limits)).toEqual([...RLIMIT_NAMES]);
    expect(limits).toMatchObject({
      nofile: 524288,
      stack: null,
      core: null,
      nproc: 63432,
      nice: 0,
      rttime: null,
      memlock: 8388608,
    });
  });

  test("a limit that no double holds is rounded down", () => {
    const line = `${"Max locked memory".padEnd(25)} ${"8".padEnd(20)} ${"18446744073709551614".padEnd(20)} bytes`;
    const { memlock } = parseHardLimits(line);
    expect(BigInt(memlock ?? 0)).toBe(18446744073709549568n);
  });
});

describe("os-release", () => {
  test("quoting as in the shell", () => {
    const text = [
      "# comment",
      'NAME="Fedora Linux"',
      "ID=fedora",
      "VERSION_ID='40'",
      'ESCAPED="a \\"b\\" \\$c \\\\ \\n"',
      "PLAIN=x\\ y",
      "JOINED=\"a\"b'c'",
      "EMPTY=",
      "  INDENTED=1  ",
      "CRLF=2\r",
    ].join("\n");
    expect(parseOsRelease(text)).toEqual({
      NAME: "Fedora Linux",
      ID: "fedora",
      VERSION_ID: "40",
      ESCAPED: 'a "b" $c \\ \\n',
      PLAIN: "x y",
      JOINED: "abc",
      EMPTY: "",
      INDENTED: "1",
      CRLF: "2",
    });
  });

  test("lines that are none are left out: open quotes, bare spaces, lower case, __proto__", () => {
    expect(parseOsRelease('A="open\nB=two words\nid=x\n__proto__=x\n=y\nC\nD=ok')).toEqual({ D: "ok" });
  });

  test("the last of two wins", () => {
    expect(parseOsRelease("ID=a\nID=b\n")).toEqual({ ID: "b" });
  });
});

describe("identity", () => {
  test.each([
    ["0123456789abcdef0123456789abcdef\n", "0123456789abcdef0123456789abcdef"],
    ["0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcdef"],
    ["uninitialized\n", null],
    ["", null],
    [null, null],
    ["00000000000000000000000000000000\n", null],
    ["01234567-89ab-cdef-0123-456789abcdef\n", null],
  ])("machine-id %j", (text, id) => {
    expect(parseMachineId(text)).toBe(id);
  });

  test.each([
    ["/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"],
    ["../usr/share/zoneinfo/Etc/GMT+3", "Etc/GMT+3"],
    ["/usr/share/zoneinfo/America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"],
    ["/usr/share/zoneinfo/../../../etc/shadow", null],
    ["/etc/zone", null],
    ["/usr/share/zoneinfo/", null],
    [null, null],
  ])("localtime -> %s", (target, zone) => {
    expect(timezoneOfLink(target)).toBe(zone);
  });
});

describe("id ranges", () => {
  const everything = parseIdMap("         0          0 4294967295\n");

  test("all of the window is free on a plain host", () => {
    expect(everything).toEqual([{ start: 0, count: 4294967295 }]);
    expect(countFreeRanges(everything, [])).toBe(28664);
  });

  test("a subordinate range takes every range it touches", () => {
    const taken = parseSubordinateIds("# users\nanna:100000:65536\nbert:558752:65536\nbroken:x:1\n\n");
    expect(taken).toEqual([
      { start: 100000, count: 65536 },
      { start: 558752, count: 65536 },
    ]);
    // 558752..624287 lies across the ranges at 524288 and 589824.
    expect(countFreeRanges(everything, taken)).toBe(28662);
  });

  test("ids that the user namespace lacks are not free", () => {
    expect(countFreeRanges(parseIdMap("0 100000 65536\n"), [])).toBe(0);
    expect(countFreeRanges(parseIdMap("0 0 655360\n"), [])).toBe(2);
  });
});
