import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readExitRecord } from "../../../src/exec/exit-record.ts";
import { announceLeftovers, removeLeftovers } from "../../../src/exec/leftovers.ts";
import { lockFile, treeLock, unlinkLocked } from "../../../src/exec/lock-file.ts";
import { forgetRange, moveRange, recordRange, setAsideDamaged } from "../../../src/exec/range-ledger.ts";
import type { LaunchPlan } from "../../../src/plan/step.ts";

/** The small files of a machine: exit record, locks, the ledger of ranges, the plan that tells what to clean up. */
let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "records-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe("an exit record", () => {
  function read(...fields: [version: number, code: number, status: number, pid: number, time: bigint]) {
    const bytes = Buffer.alloc(24);
    fields.slice(0, 4).forEach((field, index) => {
      bytes.writeInt32LE(Number(field), index * 4);
    });
    bytes.writeBigUInt64LE(fields[4], 16);
    return readBytes(bytes);
  }

  function readBytes(bytes: Buffer) {
    writeFileSync(join(directory, "exit"), bytes);
    const fd = openSync(join(directory, "exit"), "r");
    try {
      return readExitRecord(fd);
    } finally {
      closeSync(fd);
    }
  }

  test.each([
    [1, "exited", 42],
    [2, "killed", 9],
    [3, "dumped", 11],
  ])("with code %i means %s", (code, reason, status) => {
    expect(read(1, code, status, 77, 1_700_000_000_123_456_789n)).toEqual({
      reason,
      status,
      pid: 77,
      time: 1_700_000_000_123,
    });
  });

  test("that is not whole, of another version or of no known reason is none", () => {
    expect(readBytes(Buffer.alloc(0))).toBeNull();
    expect(readBytes(Buffer.alloc(23, 1))).toBeNull();
    expect(read(2, 1, 0, 1, 0n)).toBeNull();
    expect(read(1, 9, 0, 1, 0n)).toBeNull();
  });
});

describe("a lock", () => {
  test("is held by one, and free when that has let go", () => {
    const path = join(directory, "locks/m");
    const first = lockFile(path);
    expect(first).not.toBeNull();
    expect(lockFile(path)).toBeNull();
    unlinkLocked(path, first ?? -1);
    expect(existsSync(path)).toBe(false);
    const next = lockFile(path);
    expect(next).not.toBeNull();
    unlinkLocked(path, next ?? -1);
  });

  test("of a holder that died is taken over with its file", () => {
    const path = join(directory, "m");
    const dead = lockFile(path);
    closeSync(dead ?? -1);
    expect(existsSync(path)).toBe(true);
    const next = lockFile(path);
    expect(next).not.toBeNull();
    unlinkLocked(path, next ?? -1);
  });

  test("is never a file that a symbolic link leads to", () => {
    const path = join(directory, "m");
    symlinkSync("target", path);
    expect(() => lockFile(path)).toThrow(/ELOOP/);
    expect(existsSync(join(directory, "target"))).toBe(false);
  });

  test("whose file was removed meanwhile is let go of without complaint", () => {
    const path = join(directory, "m");
    const held = lockFile(path);
    rmSync(path);
    expect(() => unlinkLocked(path, held ?? -1)).not.toThrow();
  });
});

describe("the ledger of ranges", () => {
  const ranges = (): unknown => JSON.parse(readFileSync(join(directory, "ledger"), "utf8")).ranges;

  test("remembers, and forgets what was new when it is taken back", async () => {
    const path = join(directory, "ledger");
    await recordRange(path, "a", 524288);
    const forget = await recordRange(path, "b", 589824);
    expect(ranges()).toEqual({ a: 524288, b: 589824 });
    forget();
    expect(ranges()).toEqual({ a: 524288 });
  });

  test("keeps what was there before, and puts back what was replaced", async () => {
    const path = join(directory, "ledger");
    await recordRange(path, "a", 524288);
    (await recordRange(path, "a", 524288))();
    expect(ranges()).toEqual({ a: 524288 });
    (await recordRange(path, "a", 655360))();
    expect(ranges()).toEqual({ a: 524288 });
  });

  test("goes with its last entry", async () => {
    const path = join(directory, "ledger");
    (await recordRange(path, "a", 524288))();
    expect(readdirSync(directory)).toEqual(["ledger.lock"]);
  });

  test("has what several starts write down at a time, and beside another process's change", async () => {
    const path = join(directory, "ledger");
    const names = Array.from({ length: 20 }, (_, index) => `m${index}`);
    const undos = names.map((name, index) => recordRange(path, name, 524288 + index * 65536));
    await recordRange(path, "first", 524288 + 30 * 65536);
    forgetRange(path, "first");
    expect(Object.keys(ranges() as object)).toEqual(names);
    const [forget] = await Promise.all(undos);
    forget?.();
    expect(Object.keys(ranges() as object)).toEqual(names.slice(1));
    expect(readdirSync(directory).sort()).toEqual(["ledger", "ledger.lock"]);
  });

  test("is written at once while another process writes the next one", async () => {
    const path = join(directory, "ledger");
    const other = lockFile(`${path}.next`);
    await Promise.all([recordRange(path, "a", 524288), recordRange(path, "b", 589824)]);
    expect(ranges()).toEqual({ a: 524288, b: 589824 });
    unlinkLocked(`${path}.next`, other ?? -1);
  });

  test("changed by another while the disk was waited for has both changes", async () => {
    const path = join(directory, "ledger");
    await recordRange(path, "a", 524288);
    const recorded = recordRange(path, "b", 589824);
    while (!existsSync(`${path}.next`)) await Promise.resolve(); // it has been read
    moveRange(path, "a", "c");
    await recorded;
    expect(ranges()).toEqual({ c: 524288, b: 589824 });
  });

  test("that can't be written fails all that wanted to, and no later one", async () => {
    const path = join(directory, "ledger");
    mkdirSync(`${path}.next`);
    const failed = await Promise.allSettled([recordRange(path, "a", 524288), recordRange(path, "b", 589824)]);
    expect(failed.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    rmdirSync(`${path}.next`);
    await recordRange(path, "a", 524288);
    expect(ranges()).toEqual({ a: 524288 });
  });

  test("that is damaged is set aside and begun anew", async () => {
    const path = join(directory, "ledger");
    writeFileSync(path, "{ not json");
    await recordRange(path, "a", 524288);
    expect(ranges()).toEqual({ a: 524288 });
    expect(readFileSync(`${path}.damaged`, "utf8")).toBe("{ not json");
    expect(setAsideDamaged(path)).toBeNull();
  });

  test("loses the entries that can't be true, and no other", async () => {
    const path = join(directory, "ledger");
    writeFileSync(path, '{"version":1,"ranges":{"zero":0,"a":524288,"b":589824}}');
    await recordRange(path, "b", 655360);
    expect(ranges()).toEqual({ a: 524288, b: 655360 });
    expect(existsSync(`${path}.damaged`)).toBe(false);
  });

  test("of another version is not overwritten", async () => {
    const path = join(directory, "ledger");
    writeFileSync(path, '{"version":2,"ranges":{"a":[524288,65536]}}');
    await expect(recordRange(path, "b", 524288)).rejects.toThrow(`${path} is of version 2`);
    expect(readFileSync(path, "utf8")).toContain('"version":2');
  });
});

describe("leftovers of a killed launch", () => {
  const source = { from: "default" };

  test("are removed by the plan in the record: cgroup and layer of the machine, and its range unless somebody has it", () => {
    const place = (name: string): string => join(directory, name);
    for (const name of [
      "record",
      "shared/m/payload",
      "other/x",
      "other/m/payload",
      "layer/data",
      "kept/payload",
      "kept/supervisor",
    ])
      mkdirSync(place(name), { recursive: true });
    writeFileSync(place("1000"), "");
    writeFileSync(place("other/m/cgroup.events"), "populated 0\n");
    const held = lockFile(place("2000"));
    closeSync(lockFile(treeLock(place("trees"), place("other"))) ?? -1);
    writeFileSync(place("use"), "");
    const steps = [
      { phase: "host", kind: "lock-use", args: { path: place("use"), directory: "/x", as: "layer" }, source },
      { phase: "host", kind: "claim-range", args: { path: place("1000"), base: 1000 }, source },
      { phase: "host", kind: "claim-range", args: { path: place("2000"), base: 2000 }, source },
      { phase: "host", kind: "make-layer", args: { fd: "layer", directory: place("layer") }, source },
      { phase: "host", kind: "lock-tree", args: { tree: place("other"), registry: place("trees") }, source },
      {
        phase: "host",
        kind: "make-cgroup",
        args: { path: place("shared/m"), owner: 0, parents: [], controllers: [] },
        source,
      },
      {
        phase: "host",
        kind: "make-scope",
        args: { path: place("other/m"), owner: 0, unit: "m.scope", slice: "machine.slice" },
        source,
      },
      { phase: "host", kind: "use-unit", args: { path: place("kept"), owner: 0, unit: "kept.service" }, source },
    ];
    announceLeftovers(place("record"), { machine: "m", steps } as LaunchPlan);
    removeLeftovers(place("record"));
    expect(readdirSync(directory).sort()).toEqual(["2000", "kept", "other", "trees"]);
    expect(readdirSync(place("kept"))).toEqual(["supervisor"]);
    // The scope itself is systemd's.
    expect(readdirSync(place("other/m"))).toEqual(["cgroup.events"]);
    expect(readdirSync(place("other")).sort()).toEqual(["m", "x"]);
    expect(readdirSync(place("trees"))).toEqual([]);
    unlinkLocked(place("2000"), held ?? -1);
  });

  test("are shown to who keeps logs before the record is removed, which nothing keeps back", () => {
    const record = join(directory, "record");
    const make = (): void => {
      mkdirSync(record);
      writeFileSync(join(record, "console.log"), "said\n");
    };
    make();
    const onRelease = (shown: string): void => renameSync(join(shown, "console.log"), join(directory, "kept.log"));
    removeLeftovers(record, { onRelease });
    expect(readFileSync(join(directory, "kept.log"), "utf8")).toBe("said\n");
    make();
    const fail = (): never => {
      throw new Error("no room");
    };
    expect(() => removeLeftovers(record, { onRelease: fail })).toThrow("no room");
    expect(readdirSync(directory)).toEqual(["kept.log"]);
  });

  const NOT_WHOLE = [
    "",
    "{ cut sho",
    "{}",
    "null",
    '"text"',
    "[null, 1, {}]",
    '[{"kind":"make-cgroup"},{"kind":"make-scope","args":null},{"kind":"make-layer","args":{"directory":7}}]',
    '[{"kind":"lock-tree","args":{"tree":"/x"}},{"kind":"pivot-root","args":{"path":"/"}}]',
  ];
  test.each(NOT_WHOLE)("without a whole plan are the record alone: %j", (text) => {
    mkdirSync(join(directory, "record"));
    writeFileSync(join(directory, "record", "leftovers.json"), text);
    removeLeftovers(join(directory, "record"));
    expect(readdirSync(directory)).toEqual([]);
  });
});
