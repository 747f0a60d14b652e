/** Copies of trees that are large enough to be copied in parts. */
import { execFileSync } from "node:child_process";
import { linkSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { DividedTree } from "../../src/image/copy-parts.ts";
import { copyTree, type OnCopied } from "../../src/image/copy-tree.ts";
import { openSnapshots } from "../../src/image/snapshots/snapshots.ts";
import { ImageStore } from "../../src/image/store.ts";
import { weighTree } from "../../src/image/weigh-tree.ts";
import { type BerthRoot, berthRoot } from "../lib/berth.ts";
import { type FileSystem, mountFileSystem, toolsOf } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { richTree } from "../lib/rich-tree.ts";
import { testPaths } from "../lib/trees.ts";

needs("root", "tool:python3", "tool:getcap");
checkLeaks();

const { signal } = new AbortController();
const FILES = 200;

/** A directory that has everything in it many times over; what of it is linked from elsewhere is in `linked`. */
function largeTree(at: string): string {
  mkdirSync(at);
  for (const name of ["one", "two", "-t", "line\nbreak", "deep"]) {
    const directory = join(at, name, "in");
    mkdirSync(directory, { recursive: true });
    richTree(join(directory, "rich"));
    for (let index = 0; index < FILES; index++) writeFileSync(join(directory, `${index}`), `${index}`);
  }
  mkdirSync(join(at, "linked/here"), { recursive: true });
  mkdirSync(join(at, "linked/there"));
  for (let index = 0; index < FILES; index++) {
    writeFileSync(join(at, `linked/here/${index}`), "linked");
    linkSync(join(at, `linked/here/${index}`), join(at, `linked/there/${FILES - index}`));
  }
  execFileSync("python3", ["-c", ODD, at]);
  mkdirSync(join(at, `-${"n".repeat(254)}`));
  writeFileSync(join(at, `-${"n".repeat(254)}`, "\n".repeat(255)), "n");
  for (const name of ["deep", "one/in", "."]) utimesSync(join(at, name), 1, 2.5);
  return at;
}

/** As many entries, and nothing that takes long to make. */
function plainTree(at: string): string {
  for (const name of ["one/in", "two", "three", "four", "five", "six"]) {
    mkdirSync(join(at, name), { recursive: true });
    for (let index = 0; index < FILES; index++) writeFileSync(join(at, name, `${index}`), `${index}`);
  }
  return at;
}

/** A name that is no text, and directories that are more than their entries, with an ACL for what comes into one. */
const ODD = String.raw`
import os, struct, sys
os.chdir(os.fsencode(sys.argv[1]))
os.mkdir(b"bytes")
for i in range(300): open(b"bytes/\xff\xfe%d" % i, "w").close()
os.setxattr("one", "user.berth.directory", b"\x00\xff")
os.chown("one", 1234, 5678)
os.chmod("one", 0o3751)
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in ((1, 7, 2**32-1), (2, 6, 4321), (4, 5, 2**32-1), (16, 7, 2**32-1), (32, 0, 2**32-1)))
os.setxattr("deep", "system.posix_acl_default", acl)
os.setxattr("two", "trusted.berth", b"t")
`;

const GIANT = `
import os, sys
os.makedirs(sys.argv[1] + "/giant/all")
os.chdir(sys.argv[1])
for i in range(100000): open(f"giant/all/{i}", "w").close()
for d in range(3):
    os.mkdir(f"{d}")
    for i in range(500): os.link(f"giant/all/{i * 3 + d}", f"{d}/{i}")
with open("large", "wb") as f:
    f.write(os.urandom(64 << 20)); f.seek(200 << 20, 1); f.write(b"end")
`;

async function onDisk(type: FileSystem, use: (at: string, root: BerthRoot) => Promise<void>): Promise<void> {
  await using root = berthRoot();
  using disk = await mountFileSystem(type, join(root.path, "disk"), async () => undefined);
  await use(disk.path, root);
}

describe("a tree that is copied in parts", () => {
  for (const type of ["ext4", "xfs", "btrfs"] as const)
    test(`is the same on ${type}`, async (ctx) => {
      needsHere(ctx, ...toolsOf(type));
      await onDisk(type, async (at) => {
        const from = largeTree(join(at, "from"));
        await copyTree(from, join(at, "to"), signal);
        expect(manifest(join(at, "to"))).toEqual(manifest(from));
      });
    });

  test("is the same where a hard link leads across all of it, and with names that are no text", async () => {
    await using root = berthRoot();
    const from = largeTree(join(root.path, "from"));
    linkSync(join(from, "one/in/1"), join(from, "two/in/another"));
    const weights = await weighTree(from, signal, false);
    if (weights === null) throw new Error("the tree can't be weighed");
    using tree = await DividedTree.of(from, join(root.path, "divided"), weights, 2);
    expect(tree?.parts.length).toBe(2);
    expect(readdirSync(join(root.path, "divided")).length).toBeGreaterThan(0);
    await copyTree(from, join(root.path, "to"), signal);
    expect(manifest(join(root.path, "to"))).toEqual(manifest(from));
  });

  test("is the same with a directory of 100,000 entries, and a file that is larger than all else", async () => {
    await using root = berthRoot();
    using disk = await mountFileSystem("tmpfs", join(root.path, "disk"), async () => undefined);
    const from = join(disk.path, "from");
    execFileSync("python3", ["-c", GIANT, from]);
    const told: number[] = [];
    await copyTree(from, join(disk.path, "to"), signal, { progress: (fraction) => told.push(fraction) });
    expect(manifest(join(disk.path, "to"))).toEqual(manifest(from));
    expect(told.at(-1)).toBe(1);
  });

  for (const oneFileSystem of [false, true])
    test(`is copied ${oneFileSystem ? "without" : "with"} what is mounted in it`, async () => {
      await using root = berthRoot();
      const from = plainTree(join(root.path, "from"));
      mkdirSync(join(from, "mounted"));
      mkdirSync(join(from, "one/in/further"));
      using _disk = await mountFileSystem("tmpfs", join(from, "mounted"), async (at) =>
        writeFileSync(join(at, "x"), ""),
      );
      using _other = await mountFileSystem("tmpfs", join(from, "one/in/further"), async (at) =>
        writeFileSync(join(at, "x"), ""),
      );
      await copyTree(from, join(root.path, "to"), signal, { oneFileSystem });
      for (const path of ["mounted/mount", "one/in/further/mount"])
        expect(readdirSync(join(root.path, "to", path))).toEqual(oneFileSystem ? [] : ["x"]);
    });

  test("that is called like something of the view's own is copied as well", async () => {
    await using root = berthRoot();
    const from = plainTree(join(root.path, "from"));
    const work = root.directory("work");
    for (const name of ["etc", "-n 'a b"]) {
      await copyTree(from, join(work, name), signal);
      expect(manifest(join(work, name))).toEqual(manifest(from));
    }
  });

  test("tells how far it is: that only grows, and ends with all", async () => {
    await using root = berthRoot();
    const from = plainTree(join(root.path, "from"));
    const told: number[] = [];
    await copyTree(from, join(root.path, "to"), signal, { progress: (fraction) => told.push(fraction) });
    expect(told).toEqual([...told].sort((one, other) => one - other));
    expect(told.at(-1)).toBe(1);
  });

  test("tells that through a clone of it, a snapshot and a rollback; a disk image as well", async () => {
    await using root = berthRoot();
    const paths = testPaths(root.path);
    plainTree(join(paths.machines, "base"));
    writeFileSync(join(paths.machines, "disk.raw"), Buffer.alloc(20 << 20, 1));
    const [store, snapshots] = [new ImageStore(paths), openSnapshots(paths)];
    const last = async (make: (progress: OnCopied) => Promise<unknown>): Promise<number | undefined> => {
      const told: number[] = [];
      await make((fraction) => told.push(fraction));
      return told.at(-1);
    };
    const options = { readOnly: false, driver: "directory", signal } as const;
    expect(await last((progress) => store.clone("base", "copy", { ...options, progress }))).toBe(1);
    expect(await last((progress) => store.clone("disk", "other", { readOnly: false, signal, progress }))).toBe(1);
    expect(await last((progress) => snapshots.take("copy", { name: "s", comment: "", signal, progress }))).toBe(1);
    const back = { signal, stop: async () => undefined };
    expect(await last((progress) => snapshots.rollBack("copy", "s", { ...back, progress }))).toBe(1);
  });

  test("that does not fit is refused with what to do, and the other parts are not copied on", async () => {
    await using root = berthRoot();
    using disk = await mountFileSystem("tmpfs", join(root.path, "disk"), async (path) => {
      execFileSync("mount", ["-o", "remount,size=256k", path]);
    });
    const from = plainTree(join(root.path, "from"));
    const end = copyTree(from, join(disk.path, "to"), signal);
    await expect(end).rejects.toMatchObject({
      message: expect.stringMatching(/^cannot copy the tree .*from.*: cp failed: cp: .*No space left/),
      hint: expect.stringContaining("make room"),
    });
  });

  test("ends with who is told to stop", async () => {
    await using root = berthRoot();
    const from = plainTree(join(root.path, "from"));
    const stop = new AbortController();
    const end = copyTree(from, join(root.path, "to"), stop.signal);
    setTimeout(() => stop.abort(new Error("enough")), 30);
    await expect(end).rejects.toThrow("enough");
    expect(execFileSync("ps", ["-eo", "args"], { encoding: "utf8" })).not.toContain(root.path);
  });
});
