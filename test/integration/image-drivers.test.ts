/** What every way to keep images has to do, one suite for all: and what stacks of layers do beyond that. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { mountPartNow } from "../../src/host/disk-image/mount-part.ts";
import { openTree } from "../../src/host/open-tree.ts";
import { findPaths, type Paths } from "../../src/host/paths.ts";
import { readStack } from "../../src/host/stack.ts";
import { treeOf } from "../../src/host/tree-place.ts";
import type { CloneOptions } from "../../src/image/clone.ts";
import { findImage } from "../../src/image/discover.ts";
import { rawDriver } from "../../src/image/drivers/raw.ts";
import { makeImage } from "../../src/image/make.ts";
import { ImageStore } from "../../src/image/store.ts";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { bundled } from "../lib/bundled.ts";
import { DISK_TOOLS, makeFileSystem } from "../lib/disk-images.ts";
import { type FileSystem, mountFileSystem, toolsOf } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { richTree } from "../lib/rich-tree.ts";

const ready = needs(
  "root",
  "userns",
  "cgroup2",
  "cc",
  "tool:python3",
  "tool:getcap",
  "tool:lsattr",
  "tool:mkfs.xfs",
  ...DISK_TOOLS,
);
checkLeaks();
beforeAll(() => {
  if (!ready) return;
  buildBerth();
});

const LONG = 400_000;
const { signal } = new AbortController();

interface Kind {
  /** Null: what the test's directory is on. */
  readonly on: FileSystem | null;
  readonly driver: CloneOptions["driver"];
  /** What a clone is then. */
  readonly clone: string;
  readonly suffix: string;
}

const TREES: readonly (readonly [string, Kind])[] = [
  ["a directory on ext4", { on: "ext4", driver: "directory", clone: "directory", suffix: "" }],
  ["a directory on xfs, with reflinks", { on: "xfs", driver: undefined, clone: "directory", suffix: "" }],
  ["a stack of layers on ext4", { on: "ext4", driver: undefined, clone: "overlay", suffix: ".mstack" }],
  ["a stack of layers on tmpfs", { on: "tmpfs", driver: undefined, clone: "overlay", suffix: ".mstack" }],
  ["a subvolume on btrfs", { on: "btrfs", driver: undefined, clone: "btrfs", suffix: "" }],
];

/** While a machine may change one it is another matter: transfer-raw.test.ts. */
const DISKS: readonly (readonly [string, Kind])[] = [
  ["a disk image on ext4", { on: "ext4", driver: undefined, clone: "raw", suffix: ".raw" }],
  ["a disk image on xfs, with reflinks", { on: "xfs", driver: undefined, clone: "raw", suffix: ".raw" }],
];

interface Shop extends AsyncDisposable {
  readonly root: BerthRoot;
  readonly paths: Paths;
  readonly store: ImageStore;
}

/** A root whose store is on a file system of its own. */
async function openShop(on: FileSystem | null): Promise<Shop> {
  const root = berthRoot();
  const disk = on === null ? undefined : await mountFileSystem(on, join(root.path, "disk"), async () => undefined);
  if (disk !== undefined) {
    execFileSync("mount", ["--bind", disk.path, root.machines]);
    rmSync(join(root.machines, "lost+found"), { recursive: true, force: true });
  }
  const paths = findPaths({ ...root.env }, "/nowhere", undefined);
  return {
    root,
    paths,
    store: new ImageStore(paths),
    async [Symbol.asyncDispose]() {
      if (disk !== undefined) execFileSync("umount", [root.machines]);
      disk?.[Symbol.dispose]();
      await root[Symbol.asyncDispose]();
    },
  };
}

/** As who installs one makes it. */
async function makeRich({ paths }: Shop, name: string, suffix: string): Promise<void> {
  if (suffix === ".raw") return makeRichDisk(paths, name);
  await makeImage(paths, { name, readOnly: false, replace: false, signal }, async (workspace, driver) => {
    const made = join(workspace, "image");
    driver.create(made);
    const tree = richTree(join(workspace, "rich"));
    execFileSync("cp", ["-a", "-T", tree, made]);
    return made;
  });
}

/** As large as XFS has to be, and hollow. */
const DISK_SIZE = 320 << 20;

async function makeRichDisk(paths: Paths, name: string): Promise<void> {
  const options = { name, readOnly: false, replace: false, signal, driver: rawDriver };
  await makeImage(paths, options, async (workspace) => {
    const made = join(workspace, "image");
    makeFileSystem("xfs", made, { from: richTree(join(workspace, "rich")), size: DISK_SIZE });
    return made;
  });
}

/** Of the tree as who looks into the image sees it. */
function seen({ paths }: Shop, name: string): string[] {
  const image = treeOf(paths.machines, name);
  const lines = (tree: string): string[] => manifest(`${tree}/.`).map((line) => line.replaceAll(`${tree}/.`, ""));
  if (image.endsWith(".raw")) {
    const whole = { number: null, offset: 0, size: DISK_SIZE, fsType: "xfs", readOnly: true };
    const root = mountPartNow(image, whole);
    try {
      return lines(`/proc/${process.pid}/fd/${root}`);
    } finally {
      closeSync(root);
    }
  }
  using opened = openTree(image);
  return lines(opened.path);
}

/** What is in the store, but for the directory of layers. */
function names({ paths }: Shop): string[] {
  return readdirSync(paths.machines)
    .filter((name) => name !== ".berth-layers" && name !== ".berth-ranges.json")
    .sort();
}

function layers({ paths }: Shop): string[] {
  const directory = join(paths.machines, ".berth-layers");
  return existsSync(directory) ? readdirSync(directory) : [];
}

describe.each([...TREES, ...DISKS])("%s", (_, { on, driver, clone, suffix }) => {
  const copied = { readOnly: false, driver, signal };
  const open = (): Promise<Shop> => openShop(on);

  test("a clone is the same in all that a file can have, and so is what it is made of", async (ctx) => {
    needsHere(ctx, ...toolsOf(on ?? "tmpfs"));
    await using shop = await open();
    await makeRich(shop, "web", suffix);
    const whole = seen(shop, "web");
    await shop.store.clone("web", "copy", copied);
    expect(seen(shop, "copy")).toEqual(whole);
    expect(seen(shop, "web")).toEqual(whole);
    expect(shop.store.get("copy")).toMatchObject({
      driver: clone,
      type: { btrfs: "subvolume", raw: "raw" }[clone] ?? "directory",
    });
    expect(names(shop)).toContain(`copy${suffix}`);
    expect((await shop.store.inside("copy")).osRelease).toMatchObject({ ID: "rich" });
    await shop.store.clone("copy", "again", copied);
    expect(seen(shop, "again")).toEqual(whole);
    expect(existsSync(join(shop.paths.run, "images")) ? readdirSync(join(shop.paths.run, "images")) : []).toEqual([]);
  });

  test("rename and remove: the others stay, and with the last one all is gone", async (ctx) => {
    needsHere(ctx, ...toolsOf(on ?? "tmpfs"));
    await using shop = await open();
    await makeRich(shop, "web", suffix);
    const whole = seen(shop, "web");
    await shop.store.clone("web", "copy", copied);
    await shop.store.rename("copy", "other");
    await expect(shop.store.rename("other", "web")).rejects.toThrow("exists already");
    await expect(shop.store.clone("web", "other", copied)).rejects.toMatchObject({ kind: "ImageExists" });
    await shop.store.remove("web");
    expect(shop.store.list().map(({ name }) => name)).toEqual([".host", "other"]);
    expect(seen(shop, "other")).toEqual(whole);
    await shop.store.remove("other");
    expect([names(shop), layers(shop)]).toEqual([[], []]);
  });

  test("read-only is a mark that is read back, kept by a rename, and not a clone's", async (ctx) => {
    needsHere(ctx, ...toolsOf(on ?? "tmpfs"));
    await using shop = await open();
    await makeRich(shop, "web", suffix);
    await shop.store.clone("web", "copy", copied);
    await shop.store.setReadOnly("copy", true);
    expect(shop.store.get("copy").readOnly).toBe(true);
    await shop.store.rename("copy", "other");
    expect(shop.store.get("other").readOnly).toBe(true);
    await shop.store.clone("other", "third", copied);
    expect(shop.store.get("third").readOnly).toBe(false);
    await shop.store.clone("other", "fourth", { ...copied, readOnly: true });
    expect(shop.store.get("fourth").readOnly).toBe(true);
    await shop.store.setReadOnly("other", false);
    expect(shop.store.get("other").readOnly).toBe(false);
    for (const name of ["web", "other", "third", "fourth"]) await shop.store.remove(name);
    expect([names(shop), layers(shop)]).toEqual([[], []]);
  });

  test("what it takes is counted, and a clone that shares takes no room", async (ctx) => {
    needsHere(ctx, ...toolsOf(on ?? "tmpfs"));
    await using shop = await open();
    await makeRich(shop, "web", suffix);
    await shop.store.clone("web", "copy", copied);
    await shop.store.measure(["web", "copy"], 10_000);
    const [web, copy] = [shop.store.get("web"), shop.store.get("copy")];
    expect(web.usage).toBeGreaterThan(1 << 20);
    expect(copy.usage).toBeGreaterThan(1 << 20);
    if (clone === "overlay") {
      expect(copy.usageExclusive).toBeLessThan(64 << 10);
      expect(copy).toMatchObject({ parent: "web", layers: web.layers });
    }
  });

  test("of eight clones and a rename at a time each is done, or told that somebody was first", async (ctx) => {
    needsHere(ctx, ...toolsOf(on ?? "tmpfs"));
    await using shop = await open();
    await makeRich(shop, "web", suffix);
    const whole = seen(shop, "web");
    const all = await Promise.allSettled([
      ...Array.from({ length: 4 }, (_, index) => shop.store.clone("web", `copy${index}`, copied)),
      ...Array.from({ length: 4 }, () => shop.store.clone("web", "one", copied)),
    ]);
    for (const each of all)
      if (each.status === "rejected")
        expect(String(each.reason)).toMatch(/is being (made|changed|copied)|exists already/);
    for (const { name } of shop.store.list().filter(({ name }) => name !== ".host"))
      expect(seen(shop, name), name).toEqual(whole);
    expect(findImage(shop.paths, "one")).not.toBeNull();
    expect(names(shop).filter((name) => name.startsWith(".berth-making"))).toEqual([]);
  });
});

describe.each(TREES)("%s", (_, { on, driver }) => {
  const copied = { readOnly: false, driver, signal };

  test("of a running machine the clone has what the machine has written", async (ctx) => {
    needsHere(ctx, ...toolsOf(on ?? "tmpfs"));
    await using shop = await openShop(on);
    const { root, store } = shop;
    await makeImage(shop.paths, { name: "web", readOnly: false, replace: false, signal }, async (workspace, made) => {
      made.create(join(workspace, "image"));
      execFileSync("cp", ["-a", "-T", await probeTree({ init: true }), join(workspace, "image")]);
      return join(workspace, "image");
    });
    await store.clone("web", "base", copied);
    await using machine = root.start("run", "-q", "-M", "web", "-b", "--console=read-only", "--", "--term");
    await machine.until(/^up/m);
    expect((await root.berth("exec", "web", "--", ...probe("write", "/etc/written", "by web"))).status).toBe(0);
    await store.clone("web", "copy", copied);
    await store.clone("web", "flat", { ...copied, driver: "directory" });
    expect((await root.berth("exec", "web", "--", ...probe("write", "/etc/later", "by web"))).status).toBe(0);
    machine.kill();
    expect((await machine.end).status).toBe(0);
    for (const name of ["copy", "flat"]) {
      const ran = await root.berth("run", "-q", "-M", name, "--pipe", "--", ...probe("cat", "/etc/written"));
      expect(ran).toMatchObject({ status: 0, stdout: expect.stringContaining("by web") });
      expect(
        (await root.berth("run", "-q", "-M", name, "--pipe", "--", ...probe("cat", "/etc/later"))).stdout,
      ).toContain("ENOENT");
    }
    const base = await root.berth("run", "-q", "-M", "base", "--pipe", "--", ...probe("cat", "/etc/written"));
    expect(base.stdout).toContain("ENOENT");
  });
});

/** A file of each kind that a stack has to do with. */
function smallTree(path: string): string {
  for (const directory of ["etc", "usr", "srv/deep"]) mkdirSync(join(path, directory), { recursive: true });
  for (const file of ["etc/os-release", "etc/first", "srv/deep/file"]) writeFileSync(join(path, file), "ID=small\n");
  return path;
}

describe("stacks", () => {
  const copied = { readOnly: false, signal };

  /** Kills a clone before each of its system calls, in a store that `prepare` makes anew. */
  async function killEach(prepare: (shop: Shop) => Promise<void>, check: (shop: Shop, whole: string[]) => void) {
    for (let at = 0; ; at++) {
      await using shop = await openShop(null);
      await prepare(shop);
      const whole = seen(shop, "web");
      const {
        status,
        signal: by,
        stderr,
      } = spawnSync(process.execPath, [bundled("clone-killed-at"), String(at), "web", "copy"], {
        env: { ...shop.root.env },
        encoding: "utf8",
      });
      expect([status, by], stderr).toEqual(status === 0 ? [0, null] : [null, "SIGKILL"]);
      expect(seen(shop, "web"), `killed at ${at}`).toEqual(whole);
      if (findImage(shop.paths, "copy") !== null) expect(seen(shop, "copy"), `killed at ${at}`).toEqual(whole);
      else expect(status).toBeNull();
      check(shop, whole);
      await shop.store.sweep();
      const images = shop.store.list().map(({ name }) => name);
      expect(images.filter((name) => name !== ".host")).toEqual(
        status === 0 || images.includes("copy") ? ["copy", "web"] : ["web"],
      );
      expect(
        names(shop).filter((name) => name.startsWith(".")),
        `killed at ${at}`,
      ).toEqual([]);
      const inUse = new Set(shop.store.list().flatMap((image) => image.layers));
      expect(layers(shop).length, `killed at ${at}`).toBe(inUse.size);
      // And it can be done again, by a name that is free.
      await shop.store.clone("web", "again", copied);
      expect(seen(shop, "again")).toEqual(whole);
      if (status === 0) return at;
    }
  }

  test("kill -9 at each point of a tree's first clone leaves the tree whole, and one sweep later nothing else", {
    timeout: LONG,
  }, async () => {
    const calls = await killEach(
      async (shop) => {
        smallTree(join(shop.root.machines, "web"));
      },
      () => undefined,
    );
    expect(calls).toBeGreaterThan(15);
  });

  test("and so does kill -9 at each point of a clone that seals what was written", { timeout: LONG }, async () => {
    const calls = await killEach(
      async (shop) => {
        smallTree(join(shop.root.machines, "web"));
        await shop.store.clone("web", "first", copied);
        await shop.store.remove("first");
        writeFileSync(join(shop.root.machines, "web.mstack/rw/data/new"), "new");
        mkdirSync(join(shop.root.machines, "web.mstack/rw/data/etc"));
        execFileSync("mknod", [join(shop.root.machines, "web.mstack/rw/data/etc/first"), "c", "0", "0"]);
      },
      (shop) => expect(readFileSync(join(layerWith(shop, "new"), "new"), "utf8")).toBe("new"),
    );
    expect(calls).toBeGreaterThan(15);
  });

  function layerWith({ root }: Shop, name: string): string {
    const { rw, layers: all } = readStack(join(root.machines, "web.mstack"));
    const roots = [join(rw ?? "", "data"), ...all];
    return roots.find((path) => existsSync(join(path, name))) ?? "";
  }

  test("twenty clones in a row make no chain, and clones of clones that were written to make one that ends", {
    timeout: LONG,
  }, async () => {
    await using shop = await openShop(null);
    const { root, store } = shop;
    smallTree(join(root.machines, "web"));
    for (let index = 0; index < 20; index++) await store.clone("web", `copy${index}`, copied);
    expect(layers(shop)).toHaveLength(1);
    expect(store.get("copy19").layers).toHaveLength(1);
    await store.clone("copy19", "n0", copied);
    for (let index = 0; index < 25; index++) {
      const written = join(treeOf(root.machines, `n${index}`), "rw/data");
      writeFileSync(join(existsSync(written) ? written : treeOf(root.machines, `n${index}`), `file${index}`), "x");
      await store.clone(`n${index}`, `n${index + 1}`, copied);
    }
    for (let index = 0; index < 25; index++)
      expect(
        seen(shop, "n25").some((line) => line.startsWith(`file${index} `)),
        `file${index}`,
      ).toBe(true);
    const heights = Array.from({ length: 26 }, (_, index) => store.get(`n${index}`).layers.length);
    expect(Math.max(...heights)).toBe(20);
    for (const { name } of store.list().filter(({ name }) => name !== ".host")) await store.remove(name);
    expect([names(shop), layers(shop)]).toEqual([[], []]);
  });

  test("removed and changed files, opaque directories: all that a machine did is in the clone's layers", async () => {
    await using shop = await openShop(null);
    const { root, store } = shop;
    const tree = richTree(join(root.machines, "web"));
    for (const link of ["lib", "lib64"])
      if (!existsSync(join(tree, link))) symlinkSync(`usr/${link}`, join(tree, link));
    for (const place of ["proc", "sys", "run", "dev"]) mkdirSync(join(tree, place), { recursive: true });
    await store.clone("web", "base", copied);
    const script = "rm /etc/acl; rm -r /srv; mkdir /srv; echo new >/srv/new; mv /deep /deeper; chmod 700 /";
    const words = ["--bind-ro=/usr", "--pipe", "--", "/bin/sh", "-ec", script];
    expect(await root.berth("run", "-q", "-M", "web", ...words)).toMatchObject({ status: 0, stderr: "" });
    const whole = seen(shop, "web");
    await store.clone("web", "copy", copied);
    expect(seen(shop, "copy")).toEqual(whole);
    expect(whole.some((line) => line.startsWith("etc/acl"))).toBe(false);
    expect(whole.filter((line) => line.startsWith("srv"))).toHaveLength(2);
    expect(statSync(join(root.machines, "copy.mstack/rw/data")).mode & 0o777).toBe(0o700);
    expect(store.get("copy").layers).toHaveLength(2);
    // The third has the same layers, as nothing was written since.
    await store.clone("web", "third", copied);
    expect(store.get("third").layers).toEqual(store.get("copy").layers);
    expect(seen(shop, "base")).not.toEqual(whole);
    // And a copy of it as a plain directory.
    await store.clone("copy", "flat", { ...copied, driver: "directory" });
    expect(manifest(join(root.machines, "flat"))).toEqual(whole);
  });

  test("a link in the store, a mark, what somebody reads: where a tree can't become a layer it is copied", async () => {
    await using shop = await openShop(null);
    const { root, store } = shop;
    symlinkSync(richTree(join(root.path, "elsewhere")), join(root.machines, "link"));
    await store.clone("link", "copy", copied);
    expect(store.get("copy").driver).toBe("directory");
    expect(lstatSync(join(root.machines, "link")).isSymbolicLink()).toBe(true);
    richTree(join(root.machines, "marked"));
    await store.setReadOnly("marked", true);
    await store.clone("marked", "layered", copied);
    expect(store.get("marked")).toMatchObject({ driver: "overlay", readOnly: true });
    expect(store.get("layered")).toMatchObject({ driver: "overlay", readOnly: false });
    await expect(store.clone("link", "no", { ...copied, driver: "stack" })).rejects.toMatchObject({
      kind: "NotSupported",
    });
  });

  test("why a clone is a full copy is said before, by the way, and where layers were asked for", async () => {
    await using shop = await openShop("ext4");
    const { root, store } = shop;
    execFileSync("cp", ["-a", "-T", await probeTree({ init: true }), join(root.machines, "web")]);
    const why = async (name: string): Promise<string> =>
      (await root.berth("show-image", name, "-p", "Why", "--value")).stdout;
    const clone = async (...words: string[]): Promise<string> => (await root.berth("clone", ...words)).stderr;
    expect(await why("web")).toContain("a clone makes a layer of it");
    expect(await root.berth("snapshot", "web", "one")).toMatchObject({ status: 0 });
    expect(await why("web")).toContain("a clone copies it all, as it has snapshots\n");
    expect(await clone("web", "copy")).toBe(
      "berth: copy has a copy of all files of web, and no layers of it, as it has snapshots\n",
    );
    expect(await clone("web", "no", "--driver=stack")).toMatch(
      /can't be a stack: it has snapshots\nhint: without them it can: berth remove web@one\n/,
    );
    expect(await clone("web@one", "no", "--driver=stack")).toMatch(
      /can't be a stack: it is a snapshot of a directory\n$/,
    );
    expect(await clone("web", "asked", "--driver=directory")).toBe("");
    expect(await root.berth("remove", "web@one")).toMatchObject({ status: 0 });
    await using machine = root.start("run", "-q", "-M", "web", "-b", "--console=read-only", "--", "--term");
    await machine.until(/^up/m);
    expect(await why("web")).toContain("a clone copies it all, as a machine runs from it\n");
    expect(await clone("web", "second")).toContain("as a machine runs from it\n");
    expect(await clone("web", "no", "--driver=stack")).toMatch(/a machine runs from it\nhint: berth poweroff web /);
    machine.kill();
    expect((await machine.end).status).toBe(0);
    expect(await clone("web", "third")).toBe("");
    expect(store.get("third").driver).toBe("overlay");
  });

  test("of a directory that has become a stack it is said where it is, and it was made when the directory was", async () => {
    await using shop = await openShop("ext4");
    const { root, store } = shop;
    const tree = join(root.machines, "web");
    execFileSync("cp", ["-a", "-T", await probeTree({}), tree]);
    const { created } = store.get("web");
    await store.clone("web", "copy", copied);
    const seconds = (name: string): number => Math.floor(store.get(name).created ?? 0);
    expect(seconds("web")).toBe(Math.floor(created ?? 0));
    expect(seconds("copy")).toBeGreaterThan(seconds("web"));
    // And so where what was written becomes a layer.
    writeFileSync(join(root.machines, "copy.mstack/rw/data/new"), "");
    const before = seconds("copy");
    await store.clone("copy", "again", copied);
    expect(seconds("copy")).toBe(before);
    const refused = await root.berth("run", "-D", tree, "--", ...probe("exit", "0"));
    expect(refused.stderr).toContain(`${tree}: no such directory: the image is a stack of layers, web.mstack\n`);
    expect(refused.stderr).toContain(`hint: -M web runs it, and so does -D ${tree}.mstack\n`);
    for (const place of [
      ["-M", "web"],
      ["-D", `${tree}.mstack`],
    ])
      expect(await root.berth("run", "-q", ...place, "--", ...probe("exit", "0"))).toMatchObject({ status: 0 });
  });

  test("what else is called a stack is somebody's, whatever berth can't do with it", async () => {
    await using shop = await openShop(null);
    const { root, store } = shop;
    smallTree(join(root.machines, "web"));
    const kinds: Readonly<Record<string, (at: string) => void>> = {
      root: (at) => smallTree(join(at, "root")),
      bind: (at) => smallTree(join(at, "bind@home")),
      link: (at) => symlinkSync("/srv/base", join(at, "layer@0")),
      gone: (at) => symlinkSync("../.berth-layers/gone/tree", join(at, "layer@0")),
      empty: () => undefined,
    };
    for (const [name, fill] of Object.entries(kinds)) {
      const at = join(root.machines, `${name}.mstack`);
      mkdirSync(join(at, "rw", "data"), { recursive: true });
      fill(at);
    }
    const all = (): string =>
      execFileSync(
        "find",
        Object.keys(kinds).map((name) => `${name}.mstack`),
        { cwd: root.machines, encoding: "utf8" },
      );
    const before = all();
    await store.clone("web", "copy", copied);
    await store.sweep();
    await store.remove("copy");
    await store.remove("web");
    await store.sweep();
    expect([all(), layers(shop)]).toEqual([before, []]);
  });

  test("snapshots name the layers: nothing is copied, what was written comes back, and they keep their layers", async () => {
    await using shop = await openShop(null);
    const { root, store, paths } = shop;
    smallTree(join(root.machines, "web"));
    await store.clone("web", "other", copied);
    const data = join(root.machines, "web.mstack/rw/data");
    writeFileSync(join(data, "one"), "one");
    const done = async (...words: string[]): Promise<string> => {
      const { status, stdout, stderr } = await root.berth(...words);
      expect({ status, stderr }, words.join(" ")).toMatchObject({ status: 0 });
      return stdout;
    };
    await done("snapshot", "web", "first");
    // Of the file there is one, in a layer of both.
    expect(readdirSync(data)).toEqual([]);
    expect(existsSync(join(root.machines, ".berth-snapshots/web/first/image.mstack/rw/data/one"))).toBe(false);
    const whole = seen(shop, "web");
    writeFileSync(join(data, "two"), "two");
    execFileSync("mknod", [join(data, "one"), "c", "0", "0"]);
    expect(await done("diff", "web", "first")).toMatch(/[-D] \/one\n[+A] \/two|one[\s\S]*two/);
    await store.clone("web@first", "again", copied);
    expect(seen(shop, "again")).toEqual(whole);
    await done("rollback", "web", "first");
    expect(seen(shop, "web")).toEqual(whole);
    expect(existsSync(join(treeOf(paths.machines, "web"), "rw/data/two"))).toBe(false);
    for (const name of ["other", "again"]) await store.remove(name);
    await store.sweep();
    expect(seen(shop, "web")).toEqual(whole);
    await done("remove", "--snapshots", "web");
    expect(layers(shop)).toEqual([]);
  });

  test("an archive of a stack has the whole tree, also while a machine runs from it", async () => {
    await using shop = await openShop(null);
    const { root, store } = shop;
    execFileSync("cp", ["-a", "-T", await probeTree({ init: true }), join(root.machines, "web")]);
    await store.clone("web", "copy", copied);
    await using machine = root.start("run", "-q", "-M", "web", "-b", "--console=read-only", "--", "--term");
    await machine.until(/^up/m);
    expect((await root.berth("exec", "web", "--", ...probe("write", "/etc/written", "by web"))).status).toBe(0);
    const listed = async (name: string): Promise<string> => {
      const archive = join(root.path, `${name}.tar`);
      expect(await root.berth("export-tar", name, archive)).toMatchObject({ status: 0 });
      return execFileSync("tar", ["-tf", archive], { encoding: "utf8" });
    };
    expect(await listed("web")).toMatch(/\.\/etc\/written\n[\s\S]*\.\/sbin\/init\n/);
    machine.kill();
    expect((await machine.end).status).toBe(0);
    expect(await listed("web")).toMatch(/\.\/etc\/written\n/);
    expect(await listed("copy")).not.toContain("written");
  });

  test("an image that is installed in place of a stack takes its name, and its layers go with it", async () => {
    await using shop = await openShop(null);
    richTree(join(shop.root.machines, "web"));
    await shop.store.clone("web", "copy", copied);
    await shop.store.remove("copy");
    expect(layers(shop)).toHaveLength(1);
    await makeImage(shop.paths, { name: "web", readOnly: false, replace: true, signal }, async (workspace) => {
      mkdirSync(join(workspace, "image"));
      return join(workspace, "image");
    });
    expect([names(shop), layers(shop)]).toEqual([["web"], []]);
  });

  test("show-image, image-status and list-images tell what keeps it, why, and of what it consists", async () => {
    await using shop = await openShop(null);
    const { root } = shop;
    richTree(join(root.machines, "web"));
    expect((await root.berth("clone", "web", "copy")).status).toBe(0);
    const shown = await root.berth("show-image", "copy");
    expect(shown.stdout).toMatch(/^Parent=web$/m);
    expect(shown.stdout).toMatch(/^Driver=overlay$/m);
    expect(shown.stdout).toMatch(/^Layers=\S+\.berth-layers\/[0-9a-f]+\/tree$/m);
    expect((await root.berth("image-status", "copy")).stdout).toMatch(/Parent +web[\s\S]*A rich tree/);
    expect((await root.berth("list-images")).stdout).toMatch(/^copy +directory +no /m);
    expect((await root.berth("clone", "web", "flat", "--driver=directory")).status).toBe(0);
    expect((await root.berth("show-image", "flat", "-p", "Driver", "--value")).stdout).toBe("directory\n");
    expect((await root.berth("set-limit", "copy", "1G")).stderr).toContain("it is a stack of layers");
  });
});
