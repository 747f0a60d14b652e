import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { compressionNamed, programOf } from "../../../src/transfer/compression.ts";
import { needs } from "../../lib/requires.ts";

needs("tool:gzip", "tool:igzip", "tool:pigz");

test("the first program that is installed does it; where nothing is to be done there is none", () => {
  const xz = compressionNamed("xz");
  const pack = [["no-such-program", "-a"], ["cat", "-u"], ["sort"]];
  expect(programOf({ ...xz, pack }, "pack")).toEqual(["cat", "-u"]);
  expect(programOf({ ...xz, pack: [] }, "pack")).toEqual([]);
});

const { pack, unpack } = compressionNamed("gzip");
const good = Buffer.concat([randomBytes(100_000), Buffer.alloc(500_000, 7), randomBytes(100_000)]);
const packed = gzipSync(good);
const spoiled = (at: number): Buffer => {
  const copy = Buffer.from(packed);
  copy.writeUInt8(copy.readUInt8(at) ^ 0xff, at);
  return copy;
};

describe.each(unpack)("%s", (program, ...words) => {
  const run = (input: Buffer, expected = good): { readonly status: number | null; readonly right: boolean } => {
    const { status, stdout } = spawnSync(program as string, words, { input, maxBuffer: 2 ** 30 });
    return { status, right: stdout.equals(expected) };
  };

  test("gives what was packed, also of several members", () => {
    expect(run(packed)).toEqual({ status: 0, right: true });
    expect(run(Buffer.concat([packed, packed]), Buffer.concat([good, good]))).toEqual({ status: 0, right: true });
  });

  test.each([
    ["its data", packed.subarray(0, -100)],
    ["its sum", packed.subarray(0, -8)],
    ["its length", packed.subarray(0, -4)],
    ["its header", packed.subarray(0, 5)],
    ["the data of a second member", Buffer.concat([packed, packed.subarray(0, -100)])],
  ])("refuses what is cut in %s", (_, input) => {
    expect(run(input).status).not.toBe(0);
  });

  test.each([
    ["zeros", Buffer.alloc(1000)],
    ["a byte", Buffer.from("x")],
    ["a line", Buffer.from("\n")],
    ["text", Buffer.from("something else\n".repeat(10))],
    ["zeros and text", Buffer.from(`${"\0".repeat(100)}x`)],
    ["zeros and a member", Buffer.concat([Buffer.alloc(100), packed])],
    ["half of what a member begins with", Buffer.from([0x1f, 0x41])],
    ["more than is read at a time", randomBytes(1 << 20).fill("x", 0, 1)],
  ])("does not look at what follows: %s", (_, more) => {
    expect(run(Buffer.concat([packed, more]))).toEqual({ status: 0, right: true });
  });

  test("refuses what is cut anywhere in the header of a second member, or in its end", () => {
    const whole = Buffer.concat([packed, packed]);
    const cuts = [1, 2, 3, 5, 9, 10].map((length) => packed.length + length);
    for (const length of [...cuts, ...[1, 2, 3, 7].map((less) => whole.length - less)])
      expect(run(whole.subarray(0, length)).status, `${length}`).not.toBe(0);
  });

  test.each([
    ["sum", -8],
    ["length", -4],
    ["method", 2 - packed.length],
  ])("refuses a wrong %s", (_, at) => {
    expect(run(spoiled(packed.length + at)).status).not.toBe(0);
  });
});

test.each(pack)("what %s packs, gzip unpacks, and it is the same each time", (program, ...words) => {
  const once = execFileSync(program as string, words, { input: good });
  expect(execFileSync("gzip", ["-dc"], { input: once })).toEqual(good);
  expect(execFileSync(program as string, words, { input: good })).toEqual(once);
});

test.each(["pack", "unpack"] as const)("what is not installed to %s is named, with the package that has it", (way) => {
  const xz = { ...compressionNamed("xz"), [way]: [["no-such-program"]] };
  expect(() => programOf(xz, way)).toThrow(expect.objectContaining({ message: expect.stringContaining("needs xz") }));
  expect(() => programOf(xz, way)).toThrow(expect.objectContaining({ hint: "apt-get install xz-utils" }));
});
