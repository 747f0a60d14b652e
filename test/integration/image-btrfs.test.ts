/** Images on btrfs: trees are subvolumes, clones are snapshots, and they can have limits. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import type { ImageInfo } from "../../src/image/image.ts";
import { ImageStore } from "../../src/image/store.ts";
import { isSubvolume } from "../../src/sys/btrfs.ts";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { mountFileSystem, toolsOf } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";
import { richTree } from "../lib/rich-tree.ts";
import { file, OS, tar } from "../lib/tar.ts";
import { testPaths } from "../lib/trees.ts";

const ready = needs(
  ...(["root", "userns", "cgroup2", "cc", "tool:python3", "tool:getcap", "tool:btrfs"] as const),
  ...toolsOf("btrfs"),
);
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

interface Store extends AsyncDisposable {
  readonly root: BerthRoot;
  readonly machines: string;
  done(...words: readonly string[]): Promise<string>;
  image(name: string): Promise<ImageInfo>;
  btrfs(...words: readonly string[]): void;
}

/** A root whose store is on a btrfs of its own. */
async function btrfsStore(): Promise<Store> {
  const root = berthRoot();
  const disk = await mountFileSystem("btrfs", join(root.path, "disk"), async () => undefined);
  execFileSync("mount", ["--bind", disk.path, root.machines]);
  const done = async (...words: readonly string[]): Promise<string> => {
    const end = await root.berth(...words);
    expect(end).toMatchObject({ status: 0, stderr: "" });
    return end.stdout;
  };
  return {
    root,
    machines: root.machines,
    done,
    image: async (name) => JSON.parse(await done("show-image", name, "--json")),
    btrfs: (...words) => void execFileSync("btrfs", words, { stdio: "pipe" }),
    async [Symbol.asyncDispose]() {
      execFileSync("umount", [root.machines]);
      disk[Symbol.dispose]();
      await root[Symbol.asyncDispose]();
    },
  };
}

test("what is imported is a subvolume, a clone of it a snapshot that knows its parent", async () => {
  await using store = await btrfsStore();
  const { root, machines, done, image } = store;
  const tree = richTree(join(root.path, "web"));
  await done("import-fs", tree);
  expect(isSubvolume(join(machines, "web"))).toBe(true);
  expect(manifest(join(machines, "web"))).toEqual(manifest(tree));
  writeFileSync(join(root.path, "tar.tar"), tar([...OS]));
  await done("import-tar", join(root.path, "tar.tar"));
  expect(await image("tar")).toMatchObject({ type: "subvolume", driver: "btrfs", parent: null, readOnly: false });

  await done("clone", "web", "copy");
  expect(manifest(join(machines, "copy"))).toEqual(manifest(tree));
  expect(await image("copy")).toMatchObject({ type: "subvolume", parent: "web" });
  expect((await image("copy")).modified).not.toBeNull();
  await done("rename", "web", "base");
  expect(await image("copy")).toMatchObject({ parent: "base" });
  await done("remove", "base", "tar");
  expect(await image("copy")).toMatchObject({ parent: null });
  expect(manifest(join(machines, "copy")), "it needs its parent no more").toEqual(manifest(tree));
  await done("import-tar", join(root.path, "tar.tar"), "copy", "--force");
  expect(readdirSync(join(machines, "copy"))).toEqual(["etc"]);
  expect(readdirSync(machines)).toEqual(["copy"]);
});

test("an archive with its tree one level down becomes a subvolume that is the tree, with its root's attributes", async () => {
  await using store = await btrfsStore();
  const { root, machines, done } = store;
  const tree = richTree(join(root.path, "web"));
  mkdirSync(join(tree, "web"));
  chmodSync(tree, 0o1711);
  execFileSync("python3", ["-c", `import os; os.setxattr("${tree}", "user.root", b"of the tree")`]);
  execFileSync("tar", ["-C", root.path, "--xattrs", "--acls", "--sparse", "-cf", join(root.path, "web.tar"), "web"]);
  await done("import-tar", join(root.path, "web.tar"));
  expect(isSubvolume(join(machines, "web"))).toBe(true);
  expect(manifest(join(machines, "web"))).toEqual(manifest(tree));
  expect(
    (await new ImageStore({ ...testPaths(root.path), machines }).pool(10_000)).usage,
    "of subvolumes",
  ).toBeGreaterThan(100_000);
});

test("a plain directory, and an image from another file system, become subvolumes when they are cloned", async () => {
  await using store = await btrfsStore();
  const { machines, done, image } = store;
  const tree = richTree(join(machines, "plain"));
  expect(await image("plain")).toMatchObject({ type: "directory", why: expect.stringContaining("shares the blocks") });
  await done("clone", "plain", "copy");
  expect(await image("copy")).toMatchObject({ type: "subvolume", parent: null });
  expect(manifest(join(machines, "copy"))).toEqual(manifest(tree));
});

test("subvolumes that a machine made in its tree come along, and go with it", async () => {
  await using store = await btrfsStore();
  const { machines, done, btrfs } = store;
  btrfs("subvolume", "create", join(machines, "web"));
  mkdirSync(join(machines, "web/var/lib"), { recursive: true });
  for (const path of ["web/var/lib/machines", "web/var/lib/machines/inner", "web/srv"]) {
    btrfs("subvolume", "create", join(machines, path));
    writeFileSync(join(machines, path, "file"), path);
  }
  await done("clone", "web", "copy");
  for (const path of ["var/lib/machines/file", "var/lib/machines/inner/file", "srv/file"])
    expect(existsSync(join(machines, "copy", path)), path).toBe(true);
  expect(isSubvolume(join(machines, "copy/var/lib/machines/inner"))).toBe(true);
  await done("remove", "web");
  expect(existsSync(join(machines, "copy/srv/file"))).toBe(true);

  mkdirSync(join(machines, "plain"));
  btrfs("subvolume", "create", join(machines, "plain/nested"));
  await done("remove", "copy", "plain");
  expect(readdirSync(machines)).toEqual([]);
});

test("read-only is the subvolume's own mark: also what is deep in it can't be written", async () => {
  await using store = await btrfsStore();
  const { root, machines, done, image } = store;
  await done("import-fs", await probeTree(), "web");
  await done("read-only", "web");
  expect(() => writeFileSync(join(machines, "web/etc/new"), "")).toThrow("EROFS");
  expect(await image("web")).toMatchObject({ readOnly: true });
  const run = (...options: string[]) =>
    root.berth("run", "-q", ...options, "--pipe", "--", ...probe("write", "/etc/new", "x"));
  expect((await run("-M", "web")).stdout).toContain("EROFS");
  await done("clone", "web", "copy");
  expect(await image("copy")).toMatchObject({ readOnly: false });
  expect((await run("-M", "copy")).stdout).not.toContain("EROFS");
  expect(existsSync(join(machines, "copy/etc/new"))).toBe(true);
  await done("clone", "web", "locked", "--read-only");
  await done("rename", "locked", "moved");
  expect(await image("moved")).toMatchObject({ readOnly: true });
  await done("remove", "web", "copy", "moved");
});

test("set-limit of the store: its images have it together, also those that are made later, and can be removed when it is full", async () => {
  await using store = await btrfsStore();
  const { root, machines, done, image, btrfs } = store;
  writeFileSync(join(root.path, "web.tar"), tar([...OS, file("data", randomBytes(10 << 20))]));
  await done("import-tar", join(root.path, "web.tar"));
  await done("snapshot", "web");
  expect((await root.berth("set-limit", "40M")).stderr).toMatch(/quotas are off.*\nhint: btrfs quota enable/);
  btrfs("quota", "enable", machines);
  btrfs("quota", "rescan", "-w", machines);
  await done("set-limit", "40M");
  await done("set-limit", "40M");
  const pool = async (): Promise<unknown> => JSON.parse(await done("show-image", "--json"));
  expect(await pool()).toMatchObject({ limit: 40 << 20 });
  await done("clone", "web", "copy");
  await done("import-tar", join(root.path, "web.tar"), "other");
  const fill = (name: string): unknown => {
    try {
      writeFileSync(join(machines, name, "more"), randomBytes(30 << 20), { flush: true });
      return 0;
    } catch (error) {
      return (error as { errno?: number }).errno;
    }
  };
  // EDQUOT
  expect([fill("copy"), fill("other"), fill("web")]).toEqual([-122, -122, -122]);
  await done("remove", "copy", "other");
  expect((await image("web")).limit).toBe(null);
  await done("set-limit", "-");
  expect(await pool()).toMatchObject({ limit: null });
  expect(fill("web")).toBe(0);
  const elsewhere = root.directory("plain");
  root.env["BERTH_MACHINES"] = elsewhere;
  expect((await root.berth("set-limit", "1G")).stderr).toMatch(
    /its directory is no subvolume of btrfs\nhint: BERTH_MACHINES/,
  );
});

test("set-limit wants quotas, which are not switched on by the way; then usage and limits are the file system's", async () => {
  await using store = await btrfsStore();
  const { root, machines, done, image, btrfs } = store;
  writeFileSync(join(root.path, "web.tar"), tar([...OS]));
  await done("import-tar", join(root.path, "web.tar"));
  const refused = await root.berth("set-limit", "web", "10M");
  expect([refused.status, refused.stderr]).toEqual([
    1,
    expect.stringMatching(/quotas are off.*\nhint: btrfs quota enable/),
  ]);
  btrfs("quota", "enable", machines);
  btrfs("quota", "rescan", "-w", machines);
  await done("set-limit", "web", "10M");
  const { usage, limit, usageExclusive, limitExclusive } = await image("web");
  expect([limit, limitExclusive]).toEqual([10 << 20, null]);
  expect(usage).toBeGreaterThan(0);
  expect(usageExclusive).toBe(usage);
  expect(() => writeFileSync(join(machines, "web/data"), Buffer.alloc(20 << 20, 1))).toThrow(
    // EDQUOT, for which Node has no name.
    expect.objectContaining({ errno: -122 }),
  );
  execFileSync("sync", ["-f", machines]);
  await done("set-limit", "web", "1M");
  expect((await image("web")).usage, "it has more than it may").toBeGreaterThan(1 << 20);
  await done("set-limit", "web", "-");
  expect(await image("web")).toMatchObject({ limit: null });
  writeFileSync(join(machines, "web/data"), Buffer.alloc(20 << 20, 1));
});

test("an image that has more than it may, or than the store may, is marked, renamed and removed as any", async () => {
  await using store = await btrfsStore();
  const { root, machines, done, image, btrfs } = store;
  btrfs("quota", "enable", machines);
  writeFileSync(join(root.path, "web.tar"), tar([...OS, file("data", randomBytes(10 << 20))]));
  for (const name of ["web", "other"]) await done("import-tar", join(root.path, "web.tar"), name);
  execFileSync("sync", ["-f", machines]);
  await done("read-only", "web");
  await done("set-limit", "web", "1M");
  await done("read-only", "web", "no");
  await done("read-only", "web");
  await done("rename", "web", "moved");
  expect(await image("moved")).toMatchObject({ readOnly: true, limit: 1 << 20 });
  await done("remove", "moved");
  await done("set-limit", "2M");
  await done("read-only", "other");
  await done("rename", "other", "last");
  expect(await image("last")).toMatchObject({ readOnly: true, limit: null });
  expect(JSON.parse(await done("show-image", "--json"))).toMatchObject({ limit: 2 << 20 });
  await done("remove", "last");
});
