import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findPaths, type Paths } from "../../../src/host/paths.ts";
import { ImageStore } from "../../../src/image/store.ts";

let root = "";
let paths: Paths;
let store: ImageStore;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "store-"));
  // As in a checkout: berth's own directories lie among the trees.
  paths = findPaths({ BERTH_RUN: join(root, "machines/.run") }, root, root);
  mkdirSync(paths.run, { recursive: true });
  store = new ImageStore(paths);
});
afterEach(() => rmSync(root, { recursive: true }));

function tree(name: string, files: Readonly<Record<string, string>> = {}): string {
  const path = join(paths.machines, name);
  mkdirSync(join(path, "etc"), { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(path, "etc", file), text);
  return path;
}

function file(name: string, size: number): void {
  const path = join(paths.machines, name);
  writeFileSync(path, "");
  truncateSync(path, size);
}

test("trees and disk images are listed by name, berth's and systemd's own things are not", () => {
  for (const name of ["web", "b.raw", ".tar-old", ".berth-layer-1-web", ".berth-making-x-1", ".#web123"]) tree(name);
  for (const name of ["not a name", "lost+found", "a..b", "host"]) tree(name);
  file("disk.raw", 1 << 20);
  file("web.raw", 4096);
  file("web.nspawn", 10);
  file(".berth-ranges.json", 10);
  symlinkSync(tree("web"), join(paths.machines, "link"));
  symlinkSync("/nonexistent", join(paths.machines, "dangling"));
  const listed = store.list().map(({ name, type }) => `${name} ${type}`);
  expect(listed).toEqual([
    ".host directory",
    ".tar-old directory",
    "b.raw directory",
    "disk raw",
    "link directory",
    "web directory",
  ]);
});

test("a store that is not there has no images", () => {
  const nowhere = new ImageStore(findPaths({}, root, join(root, "nowhere")));
  expect(nowhere.list().map(({ name }) => name)).toEqual([".host"]);
});

test("a disk image's size and use are known at once, a tree's use when it was counted", async () => {
  const path = tree("web");
  writeFileSync(join(path, "data"), Buffer.alloc(1 << 20, 1));
  file("disk.raw", 1 << 30);
  expect(store.get("disk")).toMatchObject({ type: "raw", usage: 0, limit: 1 << 30, driver: "raw" });
  expect(store.get("web")).toMatchObject({ usage: null, limit: null, readOnly: false, modified: null, parent: null });
  expect(store.get("web").created).toBeGreaterThan(Date.now() - 60_000);
  await store.measure(["web"], 10_000);
  expect(store.get("web").usage).toBeGreaterThanOrEqual(1 << 20);
  expect(store.list().find(({ name }) => name === "web")?.usage).toBeLessThan(2 << 20);
  const pool = await store.pool(10_000);
  expect(pool).toMatchObject({ path: paths.machines, limit: null });
  expect(pool.usage).toBeGreaterThanOrEqual(1 << 20);
});

test("the store is counted once for all who ask within some seconds", async () => {
  const path = tree("web");
  const pools = Promise.all(Array.from({ length: 20 }, () => store.pool(10_000)));
  const usages = new Set((await pools).map(({ usage }) => usage));
  expect(usages.size).toBe(1);
  writeFileSync(join(path, "data"), Buffer.alloc(1 << 20, 1));
  expect((await store.pool(10_000)).usage).toBe([...usages][0]);
});

test("counting ends when its time is up, and the image is listed without", async () => {
  tree("web");
  await store.measure(["web"], 0);
  expect(store.get("web").usage).toBeNull();
});

test("what an image says of itself is read in the tree: links out of it lead nowhere", async () => {
  tree("web", {
    "os-release": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux"\n',
    hostname: "# a comment\n\nweb.example\n",
    "machine-id": "0123456789abcdef0123456789abcdef\n",
    "machine-info": "PRETTY_HOSTNAME='The web'\n",
  });
  expect((await store.inside("web")).osRelease).toEqual({ ID: "debian", PRETTY_NAME: "Debian GNU/Linux" });
  expect((await store.inside("web")).hostname).toBe("web.example");
  expect((await store.inside("web")).machineId).toBe("0123456789abcdef0123456789abcdef");
  expect((await store.inside("web")).machineInfo).toEqual({ PRETTY_HOSTNAME: "The web" });

  const outside = join(root, "outside");
  writeFileSync(outside, "host");
  const hostile = tree("hostile", { hostname: "-bad-\n", "machine-id": "uninitialized\n" });
  for (const name of ["os-release", "machine-info"]) symlinkSync(outside, join(hostile, "etc", name));
  expect((await store.inside("hostile")).osRelease).toEqual({});
  expect((await store.inside("hostile")).hostname).toBeNull();
  expect((await store.inside("hostile")).machineId).toBeNull();
  expect((await store.inside("hostile")).machineInfo).toEqual({});
  file("disk.raw", 4096);
  await expect(store.inside("disk")).rejects.toThrow("it has no file system that is known");
});

test("a name that is none never becomes a path", () => {
  mkdirSync(join(root, "other"));
  for (const name of ["../other", "a/b", "", ".", "..", ".berth-ranges.json", "__proto__x/"])
    expect(() => store.get(name)).toThrow(/^machine name/);
  for (const name of ["nothing", ".nothing", ".run"])
    expect(() => store.get(name)).toThrow(expect.objectContaining({ kind: "NoSuchImage" }));
});
