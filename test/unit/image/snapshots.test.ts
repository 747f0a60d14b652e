import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findPaths, type Paths } from "../../../src/host/paths.ts";
import { restoreSettings, saveSettings } from "../../../src/image/snapshots/saved-settings.ts";
import {
  fileIn,
  findSnapshot,
  listSnapshots,
  snapshotNames,
  snapshotsOf,
  splitSnapshotName,
  type Written,
  writtenForm,
} from "../../../src/image/snapshots/snapshot.ts";
import { ImageStore } from "../../../src/image/store.ts";

let root = "";
let paths: Paths;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "snapshots-"));
  paths = findPaths({}, root, root);
});
afterEach(() => rmSync(root, { recursive: true }));

const WRITTEN: Written = {
  ...{ time: 0, comment: "", driver: "directory", running: false, frozenMs: null, replacedBy: null, berth: "1" },
  settings: [],
};

function make(name: string, time: number, text?: string): void {
  const directory = join(paths.machines, ".berth-snapshots/web", name);
  mkdirSync(join(directory, "image"), { recursive: true });
  writeFileSync(fileIn(directory), text ?? writtenForm({ ...WRITTEN, time }));
}

test("NAME@SNAPSHOT names a snapshot; other names none", () => {
  expect(splitSnapshotName("web@snap0")).toEqual({ image: "web", snapshot: "snap0" });
  expect(splitSnapshotName("web")).toBeNull();
  expect(splitSnapshotName("a@b@c")).toEqual({ image: "a", snapshot: "b@c" });
});

test("they are listed by time, then name; what is damaged, of a newer form, half made or half gone is not", () => {
  make("late", 2);
  make("b", 1);
  make("a", 1);
  make("damaged", 1, "{");
  make("newer", 1, writtenForm(WRITTEN).replace('"version": 1', '"version": 2'));
  make(".rolling-back", 1);
  mkdirSync(join(paths.machines, ".berth-snapshots/web/empty"));
  expect(listSnapshots(paths, "web").map(({ name }) => name)).toEqual(["a", "b", "late"]);
  expect(snapshotNames(paths, "web")).toContain("damaged"); // the name is taken
  expect(listSnapshots(paths, "other")).toEqual([]);
});

test("no name leads out of the store", () => {
  mkdirSync(join(paths.machines, "web"), { recursive: true });
  make("snap0", 1);
  for (const image of ["..", "../machines/web", "/etc", ".berth-snapshots", ""])
    expect(() => snapshotsOf(paths, image), image).toThrow();
  for (const name of ["..", "../snap0", "a/b", ".rolling-back", ""])
    expect(() => findSnapshot(paths, "web", name), name).toThrow("snapshot name");
  const store = new ImageStore(paths);
  for (const name of ["web@../snap0", "../web@snap0", "@snap0", "web@"]) expect(() => store.get(name), name).toThrow();
  expect(store.get("web@snap0")).toMatchObject({ name: "web@snap0", type: "directory" });
  expect(() => findSnapshot(paths, "web", "snap1")).toThrow('no snapshot "snap1"');
});

test("settings are restored as they were saved, also for another name, and what was not there goes", () => {
  const etc = join(paths.etc, "machines");
  mkdirSync(join(etc, "web.nspawn.d"), { recursive: true });
  writeFileSync(join(etc, "web.nspawn"), "old");
  writeFileSync(join(etc, "web.nspawn.d/a.conf"), "old");
  const saved = saveSettings(paths, "web", join(root, "saved"));
  expect(saved.map(({ kind }) => kind)).toEqual([".nspawn", ".nspawn.d"]);
  mkdirSync(paths.machines, { recursive: true });
  writeFileSync(join(paths.machines, "web.nspawn"), "new");
  writeFileSync(join(etc, "web.nspawn"), "new");
  writeFileSync(join(etc, "web.nspawn.d/b.conf"), "new");
  for (const _ of ["once", "and again"]) {
    expect(restoreSettings(paths, "web", saved, join(root, "saved"))).toContain(etc);
    expect(readFileSync(join(etc, "web.nspawn"), "utf8")).toBe("old");
    expect(() => readFileSync(join(etc, "web.nspawn.d/b.conf"))).toThrow("ENOENT");
    expect(() => readFileSync(join(paths.machines, "web.nspawn"))).toThrow("ENOENT");
  }
  restoreSettings(paths, "other", saved, join(root, "saved"));
  expect(readFileSync(join(etc, "other.nspawn.d/a.conf"), "utf8")).toBe("old");
});
