/** Copies of trees with everything in them, by the copier. */
import { execFileSync } from "node:child_process";
import { linkSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { OnCopied } from "../../src/image/copy-progress.ts";
import { copyTree } from "../../src/image/copy-tree.ts";
import { openSnapshots } from "../../src/image/snapshots/snapshots.ts";
import { ImageStore } from "../../src/image/store.ts";
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

const LINKED = `
import os, stat, sys
os.chdir(sys.argv[1])
os.link("one/in/1", "two/in/another")
os.symlink("nowhere", "two/link"); os.link("two/link", "one/same", follow_symlinks=False)
os.mkfifo("two/fifo"); os.link("two/fifo", "deep/same")
os.mknod("two/device", stat.S_IFCHR | 0o4640, os.makedev(300, 70000)); os.chown("two/device", 12, 34); os.link("two/device", "device")
os.setxattr("two/link", "trusted.berth", b"of a link", follow_symlinks=False)
os.setxattr("two/fifo", "trusted.berth", b"of a fifo")
`;

const DEEP = `
import os, sys
os.chdir(sys.argv[1])
for i in range(300):
    for name in "f", "g": open(name, "w").close()
    os.mkdir("d" * 100); os.chdir("d" * 100)
open("deepest", "w").write("x")
os.link("deepest", "same")
`;

/** The group, and who may read. */
const HANDED_DOWN = `
import os, struct, sys
os.chown(sys.argv[1], 0, 5678)
os.chmod(sys.argv[1], 0o2777)
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in ((1, 7, 2**32-1), (2, 7, 4321), (4, 7, 2**32-1), (16, 7, 2**32-1), (32, 7, 2**32-1)))
os.setxattr(sys.argv[1], "system.posix_acl_default", acl)
`;

/** And an ACL, which says more than the mode does. */
const MANY_ATTRIBUTES = `
import os, struct, sys
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in ((1, 6, 2**32-1), (2, 6, 4321), (4, 0, 2**32-1), (16, 6, 2**32-1), (32, 0, 2**32-1)))
os.setxattr(sys.argv[1], "system.posix_acl_access", acl)
for i in range(400): os.setxattr(sys.argv[1], f"trusted.{i:0240}", b"")
`;

/** ext4 takes 65,000. */
const MANY_NAMES = `
import os, sys
os.chdir(sys.argv[1])
open("0", "w").close()
for i in range(1, 70000): os.link("0", f"{i}")
`;

async function onDisk(type: FileSystem, use: (at: string, root: BerthRoot) => Promise<void>): Promise<void> {
  await using root = berthRoot();
  using disk = await mountFileSystem(type, join(root.path, "disk"), async () => undefined);
  await use(disk.path, root);
}

describe("a tree that is copied", () => {
  for (const type of ["ext4", "xfs", "btrfs"] as const)
    test(`is the same on ${type}`, async (ctx) => {
      needsHere(ctx, ...toolsOf(type));
      await onDisk(type, async (at) => {
        const from = largeTree(join(at, "from"));
        await copyTree(from, join(at, "to"), signal);
        expect(manifest(join(at, "to"))).toEqual(manifest(from));
      });
    });

  test("is the same where hard links lead across all of it, also of links, FIFOs and devices", async () => {
    await using root = berthRoot();
    const from = largeTree(join(root.path, "from"));
    execFileSync("python3", ["-c", LINKED, from]);
    await copyTree(from, join(root.path, "to"), signal);
    expect(manifest(join(root.path, "to"))).toEqual(manifest(from));
    const links = (at: string): string =>
      execFileSync("find", [at, "-links", "+1", "!", "-type", "d", "-printf", "%P %n\n"], { encoding: "latin1" });
    expect(links(join(root.path, "to")).split("\n").sort()).toEqual(links(from).split("\n").sort());
  });

  test("is the same where it is deeper than a path can be long", async () => {
    await using root = berthRoot();
    const from = root.directory("from");
    execFileSync("python3", ["-c", DEEP, from]);
    await copyTree(from, join(root.path, "to"), signal);
    const all = (at: string): readonly string[] =>
      execFileSync("find", [at, "-mindepth", "1", "-printf", "%d %f %y %s\n"], { encoding: "utf8", maxBuffer: 1 << 24 })
        .replace(/ d \d+$/gm, " d")
        .split("\n")
        .sort();
    expect(all(join(root.path, "to"))).toEqual(all(from));
  });

  test("has no owner, mode or ACL of the directory that it is copied to", async () => {
    await using root = berthRoot();
    using disk = await mountFileSystem("ext4", join(root.path, "disk"), async () => undefined);
    const [from, store] = [largeTree(join(disk.path, "from")), join(disk.path, "store")];
    mkdirSync(store);
    execFileSync("python3", ["-c", HANDED_DOWN, store]);
    await copyTree(from, join(store, "to"), signal);
    expect(manifest(join(store, "to"))).toEqual(manifest(from));
  });

  test("is copied to where its file system has fewer names for a file, and fewer attributes", async () => {
    await using root = berthRoot();
    using disk = await mountFileSystem("ext4", join(root.path, "disk"), async () => undefined);
    using memory = await mountFileSystem("tmpfs", join(root.path, "memory"), async () => undefined);
    const from = join(memory.path, "from");
    mkdirSync(from);
    execFileSync("python3", ["-c", MANY_NAMES, from]);
    const to = join(disk.path, "to");
    await copyTree(from, to, signal);
    expect(readdirSync(to).length).toBe(70_000);
    expect(new Set(readdirSync(to).map((name) => statSync(join(to, name)).ino)).size).toBe(2);
    writeFileSync(join(from, "large"), "");
    execFileSync("python3", [
      "-c",
      "import os, sys; os.setxattr(sys.argv[1], 'trusted.large', b'x' * 60000)",
      join(from, "large"),
    ]);
    rmSync(to, { recursive: true });
    await expect(copyTree(from, to, signal)).rejects.toThrow(/setxattr large: ENOSPC/);
  });

  test("is copied with a file that has more attributes than can be told", async (ctx) => {
    needsHere(ctx, ...toolsOf("xfs"));
    await onDisk("xfs", async (at) => {
      const from = plainTree(join(at, "from"));
      execFileSync("python3", ["-c", MANY_ATTRIBUTES, join(from, "one/in/0")]);
      await copyTree(from, join(at, "to"), signal);
      expect(readdirSync(join(at, "to/one/in")).length).toBe(FILES);
      const acl = "import os, sys; print(os.getxattr(sys.argv[1], 'system.posix_acl_access').hex())";
      const [ours, copied] = [from, join(at, "to")].map((tree) =>
        execFileSync("python3", ["-c", acl, join(tree, "one/in/0")], { encoding: "utf8" }),
      );
      expect(copied).toBe(ours);
    });
  });

  test("is not copied into itself", async () => {
    await using root = berthRoot();
    const from = plainTree(join(root.path, "from"));
    await expect(copyTree(from, join(from, "two/to"), signal)).rejects.toThrow(
      /^cannot copy the tree .*from: .*itself two\/to/,
    );
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

  test("whose copy has a name that is strange is copied as well", async () => {
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

  test("that does not fit is refused with what to do", async () => {
    await using root = berthRoot();
    using disk = await mountFileSystem("tmpfs", join(root.path, "disk"), async (path) => {
      execFileSync("mount", ["-o", "remount,size=256k", path]);
    });
    const from = plainTree(join(root.path, "from"));
    const end = copyTree(from, join(disk.path, "to"), signal);
    await expect(end).rejects.toMatchObject({
      message: expect.stringMatching(/^cannot copy the tree .*from.*: (write|openat|mkdirat) (\w+\/)+\w*: ENOSPC/),
      hint: expect.stringContaining("make room"),
    });
  });
});
