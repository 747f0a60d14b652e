import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { lockFile, unlinkLocked } from "../../../src/exec/lock-file.ts";
import { bootId } from "../../../src/host/boot-id.ts";
import { findPaths, type Paths } from "../../../src/host/paths.ts";
import { processId } from "../../../src/host/process-id.ts";
import { findAnyMachine, findMachine } from "../../../src/machine/find-machine.ts";
import { placesOf, recordsDirectory } from "../../../src/machine/places.ts";
import {
  listMachines,
  lookUp,
  type MachineRecord,
  planPath,
  readPlan,
  readRecord,
  writeRecord,
} from "../../../src/machine/record.ts";

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
    ...{ version: 1, name, state: "running", ready: true, status: null, bootId: bootId(), leader: self, keeper: self },
    ...{
      supervisor: self,
      managed: false,
      machineId: "0".repeat(32),
      cgroup: join(root, "cgroup"),
      cgroupMount: root,
      unit: null,
      root: "/tree",
      layer: null,
    },
    ...{ os: null, osVersion: null, init: null, killSignal: 15, uidShift: null, weaknesses: [] },
    requests: { poweroff: { signal: 15 }, reboot: { signal: 2 } },
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
    expect(listMachines(paths).map(({ name }) => name)).toEqual(["db", "web"]);
  });

  test("of no root yet are none", () => {
    expect(listMachines(paths)).toEqual([]);
  });

  test("find a machine, or say which one was meant", () => {
    expect(() => findMachine("web", paths)).toThrow(expect.objectContaining({ hint: "no machine runs" }));
    mkdirSync(join(paths.machines, "web"), { recursive: true });
    expect(() => findMachine("web", paths)).toThrow(expect.objectContaining({ hint: "berth start web boots it" }));
    rmSync(join(paths.machines, "web"), { recursive: true });
    write(running("web"));
    expect(findMachine("web", paths).name).toBe("web");
    expect(() => findMachine("wbe", paths)).toThrow(
      expect.objectContaining({ message: 'no machine "wbe" is running', hint: expect.stringContaining("web") }),
    );
    expect(() => findMachine("x\x1b[2J", paths)).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining("\x1b"), hint: "x-2J would do" }),
    );
  });
});

describe("a record that can't be read", () => {
  const DAMAGE: [string, (record: MachineRecord) => unknown, RegExp][] = [
    ["cut", (record) => JSON.stringify(record).slice(0, 100), /^is damaged: it is cut/],
    ["empty", () => "", /^is damaged: it is cut/],
    ["no object", () => [], /^is damaged: it holds no record/],
    ["null", () => null, /^is damaged: it holds no record/],
    ["newer", (record) => ({ ...record, version: 2 }), /^is of version 2, and this berth reads version 1$/],
    ["partial", ({ version, leader }) => ({ version, leader }), /missing in it: name, state, .*, times$/],
    ["without a version", (record) => ({ ...record, version: undefined }), /missing in it: version$/],
    ["of no process", (record) => ({ ...record, leader: { pid: 0, startTime: "" } }), /missing in it: leader$/],
    ["of a relative cgroup", (record) => ({ ...record, cgroup: "x" }), /missing in it: cgroup$/],
    ["of odd times", (record) => ({ ...record, times: { ...record.times, began: "1" } }), /missing in it: times$/],
    ["another's", (record) => ({ ...record, name: "db" }), /another machine's$/],
  ];

  test.each(DAMAGE)("%s: is said of a machine that runs, in the way of no other", (_, spoil, fault) => {
    const file = join(write(running("web")), "record.json");
    write(running("db"));
    const spoilt = spoil(running("web"));
    writeFileSync(file, typeof spoilt === "string" ? spoilt : JSON.stringify(spoilt));
    expect(listMachines(paths).map(({ name }) => name)).toEqual(["db"]);
    const path = join(paths.run, "locks", "web");
    const lock = lockFile(path);
    const unknown = { name: "web", state: "unknown", file, fault: expect.stringMatching(fault) };
    expect(listMachines(paths)).toEqual([running("db"), unknown]);
    expect(lookUp("web", paths)).toEqual(unknown);
    expect(findAnyMachine("web", paths)).toEqual(unknown);
    expect(readRecord("web", paths)).toBeNull();
    expect(() => findMachine("web", paths)).toThrow(
      expect.objectContaining({
        message: expect.stringContaining(`machine web runs, but ${file} is `),
        hint: "berth terminate web ends it",
      }),
    );
    if (lock !== null) unlinkLocked(path, lock);
    expect(() => findMachine("web", paths)).toThrow('no machine "web" is running');
  });

  test("a directory, and none at all", () => {
    const file = join(write(running("web")), "record.json");
    const path = join(paths.run, "locks", "web");
    const lock = lockFile(path);
    rmSync(file);
    expect(lookUp("web", paths)).toMatchObject({ state: "unknown", fault: expect.stringContaining("is not there") });
    mkdirSync(file);
    expect(lookUp("web", paths)).toMatchObject({ state: "unknown", fault: "can't be read: EISDIR" });
    if (lock !== null) unlinkLocked(path, lock);
  });

  test("of a machine whose lock somebody removed: its exit record is locked too", () => {
    const exit = join(write(running("web")), "exit");
    writeFileSync(join(dirname(exit), "record.json"), "");
    const lock = lockFile(exit);
    expect(lookUp("web", paths)).toMatchObject({ state: "unknown" });
    if (lock !== null) unlinkLocked(exit, lock);
    expect(lookUp("web", paths)).toBeNull();
  });
});

test("a plan that can't be read is an error that names it", () => {
  const directory = write(running("web"));
  const path = planPath("web", paths);
  expect(path).toBe(join(directory, "plan.json"));
  expect(() => readPlan("web", paths)).toThrow(`${path} is not there`);
  for (const text of ["", '{"machine":"w', "[]", "{}", '{"machine":"web","steps":[{}]}']) {
    writeFileSync(path, text);
    expect(() => readPlan("web", paths), text).toThrow(`${path} is damaged`);
  }
  writeFileSync(path, '{"machine":"web","steps":[]}');
  expect(readPlan("web", paths)).toEqual({ machine: "web", steps: [] });
});

test.each(["../../outside", "a/b", "", ".", ".."])("%j names no record, whatever lies there", (name) => {
  const directory = join(recordsDirectory(paths), name);
  mkdirSync(directory, { recursive: true });
  writeRecord(directory, running("web"));
  expect(() => findMachine(name, paths)).toThrow(/^machine name "/);
  expect(() => findAnyMachine(name, paths)).toThrow(/^machine name "/);
});

test("places: each root and each name has its own, an ephemeral layer lies beside its tree", () => {
  const [web, db] = ["web", "db"].map((name) => placesOf(name, "/trees/tree", paths));
  const elsewhere = placesOf("web", "/trees/tree", findPaths({}, "/nonexistent", "/elsewhere"));
  expect(web?.layer).toMatch(/^\/trees\/\.berth-layer-[0-9a-f]{8}-web$/);
  for (const key of ["lock", "record", "layer"] as const) expect(web?.[key]).not.toBe(db?.[key]);
  for (const key of ["lock", "record", "ledger", "layer", "cgroup"] as const)
    expect(web?.[key], key).not.toBe(elsewhere[key]);
  expect(web?.cgroup).toBe(db?.cgroup);
});
