import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { lockFile } from "../../../src/exec/lock-file.ts";
import { ledgerPath, pickRange, readLedger } from "../../../src/host/ranges.ts";
import { isLocked } from "../../../src/sys/file-lock.ts";
import { closeQuietly } from "../../../src/sys/files.ts";

let machines = "";
beforeEach(() => {
  machines = mkdtempSync(join(tmpdir(), "ranges-"));
});
afterEach(() => rmSync(machines, { recursive: true }));

function write(content: unknown): string {
  const path = ledgerPath(machines);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

const [FIRST, LAST] = [524288, 1878982656];

describe("the ledger", () => {
  test("keeps what can be true: an aligned range of the window that no other entry has", () => {
    const ranges = {
      ...{ zero: 0, negative: -65536, odd: FIRST + 1, half: FIRST + 0.5, below: FIRST - 65536, above: LAST + 65536 },
      ...{ text: String(FIRST), none: null, list: [FIRST], object: { base: FIRST }, yes: true },
      ...{ first: FIRST, twin: FIRST, last: LAST, constructor: FIRST + 65536 },
    };
    expect([...readLedger(write({ version: 1, ranges })).ranges]).toEqual([
      ["first", FIRST],
      ["last", LAST],
      ["constructor", FIRST + 65536],
    ]);
  });

  test("of a machine with a name that every object has is as good as any", () => {
    write({ version: 1, ranges: {} });
    for (const name of ["constructor", "toString"])
      expect(pickRange(name, machines, null, () => false)).toBeGreaterThan(0);
    write(`{"version":1,"ranges":{"__proto__":${FIRST}}}`);
    expect(pickRange("__proto__", machines, null, () => false)).toBe(FIRST);
  });

  test.each(["", "{ cut sho", "null", "[]", "7", '"x"', "{}", '{"version":"1","ranges":{}}', '{"version":1}'])(
    "is damaged: %j",
    (text) => {
      expect(readLedger(write(text))).toEqual({ ranges: new Map(), damaged: true });
      expect(pickRange("m", machines, null, () => false)).toBeGreaterThanOrEqual(FIRST);
    },
  );

  test("that lists no ranges as it should is damaged", () => {
    for (const ranges of [null, [FIRST], FIRST, "x"])
      expect(readLedger(write({ version: 1, ranges })).damaged).toBe(true);
  });

  test("that is not there is empty", () => {
    expect(readLedger(ledgerPath(machines))).toEqual({ ranges: new Map(), damaged: false });
  });

  test("of another version is refused, by its name", () => {
    const path = write({ version: 2, ranges: {} });
    expect(() => readLedger(path)).toThrow(
      expect.objectContaining({
        message: `${path} is of version 2, not 1: another berth wrote it`,
        hint: expect.stringContaining("move the file away"),
      }),
    );
  });
});

describe("a pick", () => {
  test("is what the ledger says while nobody uses it, and never what it says of another", () => {
    write({ version: 1, ranges: { m: FIRST } });
    expect(pickRange("m", machines, null, () => false)).toBe(FIRST);
    expect(pickRange("m", machines, null, (base) => base === FIRST)).not.toBe(FIRST);
    const other = pickRange("other", machines, null, () => false) ?? 0;
    write({ version: 1, ranges: { m: other } });
    expect(pickRange("other", machines, null, () => false)).not.toBe(other);
  });
});

describe("a lock", () => {
  test("is seen while it is held, not because its file is there, and nothing is left of the look", () => {
    const path = join(machines, "lock");
    expect(isLocked(path)).toBe(false);
    expect(existsSync(path)).toBe(false);
    const held = lockFile(path);
    expect(isLocked(path)).toBe(true);
    closeQuietly(held ?? -1);
    expect(existsSync(path)).toBe(true);
    expect(isLocked(path)).toBe(false);
    const next = lockFile(path);
    expect(next, "the look holds it for nobody").not.toBeNull();
    closeQuietly(next ?? -1);
  });

  test("that can't be looked at counts as held", () => {
    writeFileSync(join(machines, "target"), "");
    symlinkSync("target", join(machines, "link"));
    expect(isLocked(join(machines, "link"))).toBe(true);
  });
});
