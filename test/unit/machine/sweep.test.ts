import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { lockFile, unlinkLocked } from "../../../src/exec/lock-file.ts";
import { bootId } from "../../../src/host/boot-id.ts";
import { findPaths, type Paths } from "../../../src/host/paths.ts";
import { processId } from "../../../src/host/process-id.ts";
import { ledgerPath } from "../../../src/host/ranges.ts";
import { recordsDirectory } from "../../../src/machine/places.ts";
import { type MachineRecord, writeRecord } from "../../../src/machine/record.ts";
import { sweep } from "../../../src/machine/sweep.ts";
import { tryFileLock } from "../../../src/sys/file-lock.ts";
import { closeQuietly } from "../../../src/sys/files.ts";

let root: string;
let paths: Paths;
let said: string[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "sweep-"));
  paths = findPaths({}, "/nonexistent", root);
  said = [];
});
afterEach(() => rmSync(root, { recursive: true }));

const swept = (): readonly string[] => sweep(paths, (line) => said.push(line));

/** A record directory as a launch leaves it, with these steps to undo. */
function leave(name: string, steps: readonly object[] = []): string {
  const directory = join(recordsDirectory(paths), name);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "leftovers.json"), JSON.stringify(steps));
  return directory;
}

function layerStep(directory: string): object {
  return { phase: "host", kind: "make-layer", args: { fd: "layer", directory, content: "empty" } };
}

function cgroupStep(path: string): object {
  return { phase: "host", kind: "make-cgroup", args: { path, owner: 0, parents: [], controllers: [] } };
}

const DEAD = { pid: 0x3fffffff, startTime: "1" };

function recordOf(name: string, leader = processId(process.pid)): MachineRecord {
  return {
    ...{ version: 1, name, state: "running", ready: true, status: null, bootId: bootId(), leader, keeper: DEAD },
    ...{
      supervisor: DEAD,
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

describe("a machine", () => {
  test("whose lock nobody holds is removed, with its layer", () => {
    const layer = join(root, "layer");
    mkdirSync(join(layer, "data"), { recursive: true });
    writeRecord(leave("web", [layerStep(layer)]), recordOf("web", DEAD));
    mkdirSync(join(recordsDirectory(paths), "early"));
    expect(swept()).toEqual(expect.arrayContaining(["web", "early"]));
    expect(readdirSync(recordsDirectory(paths))).toEqual([]);
    expect(existsSync(layer)).toBe(false);
    expect(readdirSync(join(paths.run, "locks"))).toEqual([]);
    expect(swept()).toEqual([]);
    expect(said).toEqual([]);
  });

  test("whose lock is held is left alone", () => {
    const directory = leave("web");
    const path = join(paths.run, "locks", "web");
    const lock = lockFile(path);
    expect(swept()).toEqual([]);
    expect(existsSync(directory)).toBe(true);
    if (lock !== null) unlinkLocked(path, lock);
    expect(swept()).toEqual(["web"]);
  });

  test("whose leader is alive is left alone, though its lock is gone", () => {
    const directory = leave("web");
    writeRecord(directory, recordOf("web"));
    expect(swept()).toEqual([]);
    expect(existsSync(directory)).toBe(true);
    writeRecord(directory, recordOf("web", { ...processId(process.pid), startTime: "1" }));
    expect(swept()).toEqual(["web"]);
  });

  test("whose keeper or supervisor holds its exit record is left alone, though its lock is gone", () => {
    const directory = leave("web");
    const path = join(directory, "exit");
    const held = openSync(path, "w+");
    expect(tryFileLock(held, path)).toBe(true);
    expect(swept()).toEqual([]);
    expect(readdirSync(join(paths.run, "locks"))).toEqual([]);
    closeQuietly(held);
    expect(swept()).toEqual(["web"]);
  });

  test("of a damaged plan is removed all the same", () => {
    const directory = leave("web");
    writeFileSync(join(directory, "plan.json"), "{");
    expect(swept()).toEqual(["web"]);
    expect(existsSync(directory)).toBe(false);
  });

  test("of a tree that is gone is removed all the same", () => {
    const registry = join(root, "trees");
    leave("web", [{ phase: "host", kind: "lock-tree", args: { tree: join(root, "gone"), registry } }]);
    expect(swept()).toEqual(["web"]);
  });

  test("that can't be cleaned up is said, stays, and is in nobody's way", () => {
    // A file is no cgroup: rmdir(2) of what holds one fails.
    const stuck = join(root, "cgroup/\x1b[31m");
    mkdirSync(stuck, { recursive: true });
    writeFileSync(join(stuck, "file"), "");
    const directory = leave("a-stuck", [cgroupStep(stuck)]);
    leave("b");
    expect(swept()).toEqual(["b"]);
    expect(said).toEqual([expect.stringMatching(/^could not clean up after machine a-stuck: ENOTEMPTY.*\\u\{1b\}/)]);
    expect(existsSync(directory)).toBe(true);
    rmSync(join(stuck, "file"));
    expect(swept()).toEqual(["a-stuck"]);
  });
});

describe("a damaged ledger", () => {
  test("is set aside, and said once", () => {
    mkdirSync(paths.machines, { recursive: true });
    const ledger = ledgerPath(paths.machines);
    writeFileSync(ledger, "{ cut sho");
    swept();
    expect(said).toEqual([`${ledger} was damaged and is ${ledger}.damaged now: machines get new ranges of ids`]);
    expect(existsSync(ledger)).toBe(false);
    expect(readFileSync(`${ledger}.damaged`, "utf8")).toBe("{ cut sho");
    swept();
    expect(said).toHaveLength(1);
  });

  test("that is of another version stays where it is", () => {
    mkdirSync(paths.machines, { recursive: true });
    const ledger = ledgerPath(paths.machines);
    writeFileSync(ledger, '{"version":2}');
    chmodSync(ledger, 0o600);
    swept();
    expect(said).toEqual([]);
    expect(readFileSync(ledger, "utf8")).toBe('{"version":2}');
  });
});
