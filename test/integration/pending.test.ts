/** Images that appear before they are on the disk, as in a daemon: after a power cut each is whole or not there, and none stays so for long. */
import { execFileSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, expect, test, vi } from "vitest";
import { findPaths, type Paths } from "../../src/host/paths.ts";
import { isLost, isPending, markPending } from "../../src/host/pending-tree.ts";
import { removeImage } from "../../src/image/changes.ts";
import { directoryDriver } from "../../src/image/drivers/directory.ts";
import { takeSnapshot } from "../../src/image/snapshots/take.ts";
import { ImageStore } from "../../src/image/store.ts";
import { getAttribute } from "../../src/sys/owners.ts";
import { Transfers } from "../../src/transfer/transfers.ts";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { CUT_FILE_SYSTEMS, CUT_TOOLS, makeCutDisk } from "../lib/cut-disk.ts";
import { failingStore } from "../lib/failing-store.ts";
import { mountFileSystem, toolsOf } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { needs } from "../lib/requires.ts";
import { richTree } from "../lib/rich-tree.ts";

const boot = vi.hoisted(() => ({ id: "this-boot" }));
vi.mock("../../src/host/boot-id.ts", () => ({ bootId: () => boot.id }));

/** What is to come to the disk later waits for it. */
const gate = vi.hoisted(() => {
  let opened = Promise.withResolvers<void>();
  opened.resolve();
  return {
    passed: () => opened.promise,
    open: () => opened.resolve(),
    fail: (error: Error) => opened.reject(error),
    shut: () => {
      opened = Promise.withResolvers<void>();
    },
  };
});
vi.mock("../../src/sys/sync-fs.ts", async (original) => {
  const { openFileSystem } = await original<typeof import("../../src/sys/sync-fs.ts")>();
  const open: typeof openFileSystem = (path) => {
    const opened = openFileSystem(path);
    return { sync: () => gate.passed().then(() => opened.sync()), [Symbol.dispose]: () => opened[Symbol.dispose]() };
  };
  return { openFileSystem: open };
});

/** ms */
const HELD = 300;

const ready = needs("root", "cc", "tool:python3", "tool:tar", ...toolsOf("ext4"), ...CUT_TOOLS);
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});
afterEach(() => {
  boot.id = "this-boot";
  gate.shut();
  gate.open();
});

const signal = new AbortController().signal;
const COPY = { readOnly: false, driver: "directory", signal } as const;

function noProblem(problem: string): never {
  throw new Error(problem);
}

/** As a daemon has it. */
function storeOf(paths: Paths, onProblem: (problem: string) => void = noProblem): ImageStore {
  return new ImageStore(paths, onProblem);
}

function pathsOf(root: BerthRoot): Paths {
  return findPaths({ ...root.env }, "/nonexistent", undefined);
}

function names(store: ImageStore): readonly string[] {
  return store.list().flatMap(({ name }) => (name === ".host" ? [] : [name]));
}

function imported(store: ImageStore, archive: string, name: string): Promise<void> {
  return new Transfers(store).importTar(openSync(archive, "r"), { name, readOnly: false, replace: false }).done;
}

/** Whose marks are of the disk and not of memory, as overlays and tmpfs of test hosts may have none. */
async function onExt4<T>(use: (paths: Paths, root: BerthRoot) => Promise<T>): Promise<T> {
  await using root = berthRoot();
  using disk = await mountFileSystem("ext4", join(root.path, "disk"), async () => undefined);
  Object.assign(root.env, { BERTH_MACHINES: join(disk.path, "machines") });
  mkdirSync(join(disk.path, "machines"));
  return await use(pathsOf(root), root);
}

test.each(CUT_FILE_SYSTEMS)(
  "on %s: a clone and an import are whole after a power cut, or not there, and whole when they are written",
  async (type) => {
    await using root = berthRoot();
    using disk = makeCutDisk(type, join(root.path, "disk"));
    for (const part of ["machines", "etc"]) mkdirSync(join(disk.path, part));
    Object.assign(root.env, { BERTH_MACHINES: join(disk.path, "machines"), BERTH_ETC: join(disk.path, "etc") });
    const paths = pathsOf(root);
    const tree = richTree(join(paths.machines, "web"));
    rmSync(join(tree, "var/lib/sparse"));
    for (let count = 0; count < 40; count++)
      writeFileSync(join(tree, "srv", `${count}`), Buffer.alloc(200_000, `${count}`));
    const archive = join(root.path, "web.tar");
    execFileSync("tar", ["-C", tree, "--acls", "--xattrs", "--xattrs-include=*", "-cf", archive, "."]);
    const wanted = JSON.stringify(manifest(tree));
    const store = storeOf(paths);
    const acts = {
      copy: () => store.clone("web", "copy", COPY),
      new: () => imported(store, archive, "new"),
    };
    for (const [name, act] of Object.entries(acts)) {
      disk.sync();
      // A subvolume waits for the disk itself.
      if (type !== "btrfs" || name === "copy") gate.shut();
      const { cuts } = await disk.cutDuring(
        async () => {
          await act();
          // Long enough for names to come to the disk before what is in them.
          await sleep(HELD);
          gate.open();
          await store.written();
        },
        { most: 24, storm: true },
      );
      expect(isPending(join(paths.machines, name))).toBe(false);
      disk.unplug();
      boot.id = "next-boot";
      let lost = 0;
      for (const cut of cuts)
        await disk.with(cut, async () => {
          const place = join(paths.machines, name);
          const listed = names(store).includes(name);
          if (isLost(place)) lost++;
          if (listed) expect(JSON.stringify(manifest(place))).toBe(wanted);
          else expect(cut.after).not.toBe(null);
          expect(await storeOf(paths).sweep()).toEqual(isLost(place) ? [name] : []);
          expect(names(store).includes(name)).toBe(listed);
          await storeOf(paths).clean("hidden");
          expect(readdirSync(paths.machines).includes(name)).toBe(listed);
          expect(readdirSync(paths.machines).filter((each) => /^\.berth-(making|moving)/.test(each))).toEqual([]);
        });
      // Else this shows nothing. Of btrfs nothing comes to the disk meanwhile but by a commit, which brings all.
      if (type !== "btrfs") expect(lost).toBeGreaterThan(0);
      boot.id = "this-boot";
      disk.plug();
    }
  },
  240_000,
);

test("what can't be pending is on the disk first: what is marked read-only, replaced, or asked for so", async () => {
  await onExt4(async (paths) => {
    richTree(join(paths.machines, "web"));
    const store = storeOf(paths);
    const fill = async (workspace: string): Promise<string> => {
      mkdirSync(join(workspace, "tree"));
      return join(workspace, "tree");
    };
    const make = { readOnly: false, replace: false, signal };
    const marked: Record<string, boolean> = {};
    for (const [name, more] of Object.entries({
      plain: {},
      sync: { sync: true },
      only: { readOnly: true },
      old: { replace: true },
    })) {
      // Held until it is looked at: a pending one is written at once.
      const place = await store.make({ ...make, name, ...more }, fill);
      marked[name] = isPending(place);
      await store.written();
      expect(isPending(place)).toBe(false);
    }
    expect(marked).toEqual({ plain: true, sync: false, only: false, old: false });
    expect(new ImageStore(paths).get("only").readOnly).toBe(true);
  });
});

test("a pending image can be marked, renamed, cloned, kept and removed at once", async () => {
  await onExt4(async (paths) => {
    const tree = richTree(join(paths.machines, "web"));
    const store = storeOf(paths);
    await store.clone("web", "a", COPY);
    await store.setReadOnly("a", true);
    expect(store.get("a").readOnly).toBe(true);
    await store.clone("web", "b", COPY);
    await store.rename("b", "c");
    await store.clone("c", "d", COPY);
    await store.clone("web", "e", COPY);
    await store.remove("e");
    await store.clone("web", "f", COPY);
    await takeSnapshot(paths, store.find("f"), { name: "s", comment: "", signal });
    expect(isPending(join(paths.machines, "f"))).toBe(false);
    await store.written();
    boot.id = "next-boot";
    expect(names(store)).toEqual(["a", "c", "d", "f", "web"]);
    expect(manifest(join(paths.machines, "d"))).toEqual(manifest(tree));
  });
});

/** As a daemon leaves it that is killed at once. */
function pendingTree(paths: Paths, name: string): string {
  const tree = richTree(join(paths.machines, name));
  const fd = openSync(tree, "r");
  expect(markPending(fd)).toBe(true);
  closeSync(fd);
  return tree;
}

test("of one whose daemon was killed the next one sees to the disk; a copy by hand is nobody's to remove", async () => {
  await onExt4(async (paths) => {
    const tree = pendingTree(paths, "web");
    execFileSync("cp", ["-a", tree, join(paths.machines, "by-hand")]);
    await storeOf(paths).sweep();
    expect(isPending(tree)).toBe(false);
    boot.id = "next-boot";
    await storeOf(paths).sweep();
    expect(names(storeOf(paths))).toEqual(["by-hand", "web"]);
  });
});

test("a lost image is none: nothing runs from it, its name is free, and it is removed with its settings", async () => {
  await onExt4(async (paths, root) => {
    pendingTree(paths, "web");
    pendingTree(paths, "db");
    richTree(join(paths.machines, "base"));
    for (const name of ["web", "db"])
      writeFileSync(join(root.etc, "machines", `${name}.nspawn`), "[Exec]\nHostname=old\n");
    // The commands are of the boot that this host has: another one.
    expect(JSON.parse((await root.berth("list-images", "--json")).stdout)).toMatchObject([{ name: "base" }]);
    expect(await root.berth("plan", "web")).toMatchObject({ status: 1, stdout: "" });
    expect((await root.berth("plan", "web")).stderr).toMatch(/not whole: the host went down.*\n.*berth clean/);
    expect(await root.berth("clone", "base", "web", "--driver=directory")).toMatchObject({ status: 0, stderr: "" });
    expect(await root.berth("clean")).toMatchObject({ status: 0 });
    expect(readdirSync(paths.machines).filter((name) => !name.startsWith("."))).toEqual(["base", "web"]);
    expect(readdirSync(join(root.etc, "machines"))).toEqual([]);
  });
});

test("settings that were written before an image was made outlive it when it is lost", async () => {
  await onExt4(async (paths, root) => {
    const settings = (name: string): string => join(root.etc, "machines", name);
    writeFileSync(settings("web.nspawn"), "[Exec]\nHostname=written-before\n");
    await sleep(20); // a time of a file is the last tick's
    pendingTree(paths, "web");
    await sleep(20);
    mkdirSync(settings("web.nspawn.d"));
    boot.id = "next-boot";
    await storeOf(paths).clean("hidden");
    expect(existsSync(join(paths.machines, "web"))).toBe(false);
    expect(readdirSync(join(root.etc, "machines"))).toEqual(["web.nspawn"]);
  });
});

test("one that was replaced while somebody was about to remove what was lost stays", async () => {
  await onExt4(async (paths) => {
    const tree = pendingTree(paths, "web");
    boot.id = "next-boot";
    const lost = { name: "web", path: tree, driver: directoryDriver };
    await storeOf(paths).clean("hidden");
    pendingTree(paths, "web");
    await removeImage(paths, lost, "lost");
    expect(names(storeOf(paths))).toEqual(["web"]);
  });
});

test("one that can't be written to the disk is said, and removed where that can be", async () => {
  await using root = berthRoot();
  const from = root.directory("from");
  for (const directory of ["etc", "usr/bin"]) mkdirSync(join(from, directory), { recursive: true });
  writeFileSync(join(from, "usr/bin/large"), Buffer.alloc(80 << 20, "not a hole "));
  execFileSync("tar", ["-C", from, "-cf", `${from}.tar`, "."]);
  using _store = failingStore(root);
  const problems: string[] = [];
  const store = storeOf(pathsOf(root), (problem) => problems.push(problem));
  await imported(store, `${from}.tar`, "img");
  await store.written();
  expect(problems[0]).toMatch(/^image img could not be written to the disk: .*(EIO|ENOSPC|EROFS)/);
  // The whole file system may have failed by then.
  if (names(store).length > 0)
    expect(problems[1]).toMatch(/^image img is not whole and could not be removed: .*(EIO|EROFS)/);
});

test("of one whose write failed nothing is left", async () => {
  await onExt4(async (paths) => {
    richTree(join(paths.machines, "web"));
    const problems: string[] = [];
    const store = storeOf(paths, (problem) => problems.push(problem));
    gate.shut();
    await store.clone("web", "copy", COPY);
    gate.fail(new Error("EIO: i/o error"));
    await store.written();
    expect(problems).toEqual(["image copy could not be written to the disk: EIO: i/o error"]);
    expect(readdirSync(paths.machines).filter((name) => !name.startsWith("."))).toEqual(["web"]);
  });
});

function markOf(path: string): string | null {
  const fd = openSync(path, "r");
  try {
    return getAttribute(fd, "trusted.berth.pending")?.toString() ?? null;
  } finally {
    closeSync(fd);
  }
}

test("a copy of a pending image has no mark, and what becomes a layer is on the disk", async () => {
  await onExt4(async (paths) => {
    pendingTree(paths, "web");
    const store = new ImageStore(paths);
    await store.clone("web", "copy", COPY);
    expect(markOf(join(paths.machines, "web"))).not.toBe(null);
    expect(markOf(join(paths.machines, "copy"))).toBe(null);
    gate.shut();
    const cloned = store.clone("web", "shared", { readOnly: false, signal, driver: "stack" });
    await sleep(HELD);
    expect(readdirSync(paths.machines)).toContain("web");
    gate.open();
    await cloned;
    const [layer = ""] = readdirSync(join(paths.machines, ".berth-layers"));
    expect(markOf(join(paths.machines, ".berth-layers", layer, "tree"))).toBe(null);
  });
});

test("an image is not removed before its copies are on the disk, whoever removes it", async () => {
  await onExt4(async (paths) => {
    const [tree, copy] = [richTree(join(paths.machines, "web")), join(paths.machines, "copy")];
    gate.shut();
    const store = storeOf(paths);
    await store.clone("web", "copy", COPY);
    const removed = new ImageStore(paths).remove("web");
    await sleep(HELD);
    expect(isPending(copy)).toBe(true);
    expect(existsSync(tree)).toBe(true);
    gate.open();
    await removed;
    expect(isPending(copy)).toBe(false);
    await store.written();
    // The same of what it is replaced by.
    richTree(tree);
    pendingTree(paths, "killed");
    await new ImageStore(paths).make({ name: "web", readOnly: false, replace: true, signal }, async (workspace) => {
      mkdirSync(join(workspace, "tree"));
      expect(isPending(join(paths.machines, "killed"))).toBe(false);
      return join(workspace, "tree");
    });
  });
});

test("one whose write failed is removed by the name that it has by then, and not what has its old one", async () => {
  await onExt4(async (paths) => {
    richTree(join(paths.machines, "web"));
    const problems: string[] = [];
    const store = storeOf(paths, (problem) => problems.push(problem));
    gate.shut();
    await store.clone("web", "copy", COPY);
    await store.rename("copy", "moved");
    pendingTree(paths, "copy");
    gate.fail(new Error("EIO: i/o error"));
    await store.written();
    expect(problems).toEqual(["image moved could not be written to the disk: EIO: i/o error"]);
    expect(names(store)).toEqual(["copy", "web"]);
  });
});

test("one that can't be removed keeps nothing else; only who says so has any removed", async () => {
  await onExt4(async (paths) => {
    const held = pendingTree(paths, "a");
    const other = pendingTree(paths, "b");
    boot.id = "next-boot";
    const killed = pendingTree(paths, "c");
    execFileSync("mount", ["--bind", held, held]);
    try {
      expect(await storeOf(paths).sweep()).toEqual(["a", "b"]);
      expect([isLost(held), existsSync(other), isPending(killed)]).toEqual([true, true, false]);
      await expect(storeOf(paths).clean("hidden")).rejects.toThrow();
    } finally {
      execFileSync("umount", [held]);
    }
    expect([isLost(held), existsSync(other)]).toEqual([true, false]);
    await storeOf(paths).clean("hidden");
    expect([existsSync(held), existsSync(killed)]).toEqual([false, true]);
  });
});

test("snapshots of an earlier image of that name stay when one is lost", async () => {
  await onExt4(async (paths) => {
    const tree = richTree(join(paths.machines, "web"));
    await takeSnapshot(paths, storeOf(paths).find("web"), { name: "kept", comment: "", signal });
    rmSync(tree, { recursive: true });
    pendingTree(paths, "web");
    boot.id = "next-boot";
    await storeOf(paths).clean("hidden");
    expect(existsSync(tree)).toBe(false);
    expect(readdirSync(join(paths.machines, ".berth-snapshots/web"))).toEqual(["kept"]);
  });
});
