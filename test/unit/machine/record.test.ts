import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { lockFile, unlinkLocked } from "../../../src/exec/lock-file.ts";
import { findPaths, type Paths } from "../../../src/host/paths.ts";
import { processId } from "../../../src/host/process-id.ts";
import { findMachine } from "../../../src/machine/find-machine.ts";
import { placesOf, recordsDirectory } from "../../../src/machine/places.ts";
import { listRecords, type MachineRecord, readRecord, writeRecord } from "../../../src/machine/record.ts";
import { sweep } from "../../../src/machine/sweep.ts";

let root: string;
let paths: Paths;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "records-"));
  paths = findPaths({}, "/nonexistent", root);
});
afterEach(() => rmSync(root, { recursive: true }));

/** This process stands for a machine's init: it runs. */
function running(name: string): MachineRecord {
  const self = processId(process.pid);
  return {
    ...{ version: 1, name, state: "running", ready: true, status: null, bootId: "", leader: self, keeper: self },
    ...{ supervisor: self, cgroup: join(root, "cgroup"), cgroupMount: root, unit: null, root: "/tree", layer: null },
    ...{ os: null, osVersion: null, killSignal: 15, uidShift: null, weaknesses: [] },
    times: { began: 0, executed: 1, executedMonotonic: 1, ready: 1 },
  };
}

function write(record: MachineRecord): string {
  const directory = join(recordsDirectory(paths), record.name);
  mkdirSync(directory, { recursive: true });
  writeRecord(directory, record);
  return directory;
}

describe("records", () => {
  test("are read as they were written, by nobody but root, with nothing temporary left", () => {
    const directory = write(running("web"));
    expect(readRecord("web", paths)).toEqual(running("web"));
    expect(statSync(join(directory, "record.json")).mode & 0o777).toBe(0o600);
    expect(readdirSync(directory)).toEqual(["record.json"]);
  });

  test("of machines that do not run, of another version, or damaged are none", () => {
    const { leader } = running("web");
    write({ ...running("gone"), leader: { ...leader, pid: 0x3fffffff } });
    write({ ...running("reused"), leader: { ...leader, startTime: "1" } });
    write({ ...running("future"), version: 2 as 1 });
    const cut = write(running("cut"));
    writeFileSync(join(cut, "record.json"), '{"version":1,"na');
    mkdirSync(join(recordsDirectory(paths), "empty"));
    for (const name of ["gone", "reused", "future", "cut", "empty", "missing"])
      expect(readRecord(name, paths), name).toBeNull();
    write(running("web"));
    write(running("db"));
    expect(listRecords(paths).map(({ name }) => name)).toEqual(["db", "web"]);
  });

  test("of no root yet are none", () => {
    expect(listRecords(paths)).toEqual([]);
  });

  test("find a machine, or say which one was meant", () => {
    expect(() => findMachine("web", paths)).toThrow(expect.objectContaining({ hint: "no machine runs" }));
    write(running("web"));
    expect(findMachine("web", paths).name).toBe("web");
    expect(() => findMachine("wbe", paths)).toThrow(
      expect.objectContaining({ message: 'no machine "wbe" is running', hint: expect.stringContaining("web") }),
    );
    expect(() => findMachine("x\x1b[2J", paths)).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining("\x1b") }),
    );
  });
});

test("places: each root and each name has its own, an ephemeral layer lies beside its tree", () => {
  const [web, db] = ["web", "db"].map((name) => placesOf(name, "/trees/tree", paths));
  const elsewhere = placesOf("web", "/trees/tree", findPaths({}, "/nonexistent", "/elsewhere"));
  expect(web?.layer).toBe("/trees/.berth-layer-web");
  for (const key of ["lock", "record", "layer"] as const) expect(web?.[key]).not.toBe(db?.[key]);
  for (const key of ["lock", "record", "ledger", "cgroup"] as const) expect(web?.[key], key).not.toBe(elsewhere[key]);
  expect(web?.cgroup).toBe(db?.cgroup);
});

describe("sweep", () => {
  test("removes what is left of machines whose lock nobody holds, their layers with it", () => {
    const directory = write({ ...running("web"), layer: join(root, "layer") });
    mkdirSync(join(root, "layer/data"), { recursive: true });
    const step = { phase: "host", kind: "make-layer", args: { fd: "layer", directory: join(root, "layer") } };
    writeFileSync(join(directory, "leftovers.json"), JSON.stringify([step]));
    mkdirSync(join(recordsDirectory(paths), "early"));
    expect(sweep(paths)).toEqual(expect.arrayContaining(["web", "early"]));
    expect(readdirSync(recordsDirectory(paths))).toEqual([]);
    expect(existsSync(join(root, "layer"))).toBe(false);
    expect(readdirSync(join(paths.run, "locks"))).toEqual([]);
    expect(sweep(paths)).toEqual([]);
  });

  test("leaves a machine alone whose lock is held", () => {
    const directory = write(running("web"));
    const path = join(paths.run, "locks", "web");
    const lock = lockFile(path);
    expect(sweep(paths)).toEqual([]);
    expect(existsSync(directory)).toBe(true);
    if (lock !== null) unlinkLocked(path, lock);
    expect(sweep(paths)).toEqual(["web"]);
  });

  test("of a damaged plan removes the record all the same", () => {
    const directory = write(running("web"));
    writeFileSync(join(directory, "plan.json"), "{");
    expect(sweep(paths)).toEqual(["web"]);
    expect(existsSync(directory)).toBe(false);
  });
});
