import { tmpdir } from "node:os";
import { describe, expect, test } from "vitest";
import { BerthError } from "../../../src/errors.ts";
import { guardSpace, NoSpaceLeft, tellFull } from "../../../src/transfer/free-space.ts";

const full = (line: string): Error => {
  const found = NoSpaceLeft.in(["something else", line]);
  if (found === undefined) throw new Error("not seen");
  return found;
};
const fails = (error: Error) => () => Promise.reject(error);

describe("a full disk", () => {
  test.each([
    ["dd: error writing 'standard output': No space left on device", "ENOSPC"],
    ["cp: error writing '/x': Disk quota exceeded", "EDQUOT"],
    ["tar: zeros: Wrote only 260608 of 262144 bytes", "ENOSPC"],
  ])("%s: is said with its place, without hidden names", async (line, code) => {
    const inside = `${tmpdir()}/.berth-making-web-0123456789ab/tree`;
    await expect(tellFull(inside, fails(full(line)), 5e6)).rejects.toThrow(
      `the disk is full: no space left in ${tmpdir()} (${code}); 5 MB are needed`,
    );
    await expect(tellFull(tmpdir(), fails(full(line)))).rejects.toThrow(/\); \d+ MB were free$/);
  });

  test("what a system call says of one is told alike; anything else stays as it is", async () => {
    const refused = Object.assign(new Error("mkdir"), { code: "ENOSPC" });
    await expect(guardSpace(tmpdir(), new AbortController().signal, fails(refused))).rejects.toThrow(
      /^the disk is full/,
    );
    const other = new BerthError("the archive is refused");
    await expect(guardSpace(tmpdir(), new AbortController().signal, fails(other))).rejects.toBe(other);
    expect(NoSpaceLeft.in(["tar: it is not full"])).toBeUndefined();
  });
});
