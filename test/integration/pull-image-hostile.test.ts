/** Images whose checksums are right, with a root in squashfs that is none, or not all of one. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { mountFileSystem, toolsOf } from "../lib/file-systems.ts";
import { pullImage } from "../lib/image-server.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { file, OS, tar } from "../lib/tar.ts";

const ready = needs("root", "tool:mksquashfs", "tool:unsquashfs", "tool:python3", "tool:setcap");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const PLAIN = tar([file("metadata.yaml", "architecture: x86_64\n")]);

describe("a root in squashfs", () => {
  /** Tables are at its end, data before them; by gzip, so that what is wrong in data is found. */
  function squashfs(root: BerthRoot, tree = root.directory("rootfs")): Buffer {
    mkdirSync(join(tree, "etc"));
    writeFileSync(join(tree, "etc/os-release"), "ID=test\n");
    writeFileSync(join(tree, "random"), randomBytes(3 << 20));
    writeFileSync(join(tree, "text"), randomBytes(1 << 20).toString("hex"));
    const made = join(root.path, "made.squashfs");
    execFileSync("mksquashfs", [tree, made, "-noappend", "-quiet", "-no-progress", "-comp", "gzip", "-no-fragments"]);
    return readFileSync(made);
  }

  function changed(bytes: Buffer, change: (copy: Buffer) => void): Buffer {
    const copy = Buffer.from(bytes);
    change(copy);
    return copy;
  }

  const SUPERBLOCK = 96;
  const CUT = /refused: it ends before its end: /;
  const NONE = /valid SQUASHFS superblock/;
  const cases: Readonly<Record<string, readonly [(good: Buffer) => Buffer, RegExp]>> = {
    "half of it": [(good) => good.subarray(0, good.length >> 1), CUT],
    "all but its last 4 kB": [(good) => good.subarray(0, -4096), CUT],
    "its superblock alone": [(good) => good.subarray(0, SUPERBLOCK), CUT],
    "half of its superblock": [(good) => good.subarray(0, SUPERBLOCK >> 1), CUT],
    "its magic alone": [(good) => good.subarray(0, 4), CUT],
    "random bytes behind its magic": [(good) => Buffer.concat([good.subarray(0, 4), randomBytes(1 << 20)]), NONE],
    "zeros behind its magic": [(good) => Buffer.concat([good.subarray(0, 4), Buffer.alloc(1 << 20)]), NONE],
    "random bytes behind its superblock": [
      (good) => Buffer.concat([good.subarray(0, SUPERBLOCK), randomBytes(good.length - SUPERBLOCK)]),
      /failed/,
    ],
    "a superblock of all there may be": [
      (good) => changed(good, (copy) => copy.fill(0xff, 32, SUPERBLOCK)),
      /too large in super block/,
    ],
    "as many files as there may be": [
      (good) => changed(good, (copy) => copy.writeUInt32LE(0xffffffff, 4)),
      /Bad inode count/,
    ],
    "as many fragments as there may be": [
      (good) => changed(good, (copy) => copy.writeUInt32LE(0xffffffff, 16)),
      /too large in super block/,
    ],
    "a root directory elsewhere": [(good) => changed(good, (copy) => copy.writeBigUInt64LE(0x123456n, 32)), /failed/],
    "a file's data that are others": [
      (good) => changed(good, (copy) => copy.fill(0x55, 4 << 20, (4 << 20) + 999)),
      /uncompress failed/,
    ],
    "an archive": [() => tar([...OS]), NONE],
  };

  test.each(Object.entries(cases))("%s is refused, with nothing left", async (_, [make, reason]) => {
    await using root = berthRoot();
    const { status, stdout, stderr } = await pullImage(root, PLAIN, make(squashfs(root)), "squashfs");
    expect([status, stdout], stderr).toEqual([1, ""]);
    const [said, hint, ...more] = stderr.split("\n");
    expect(said).toMatch(/^berth: the image is refused: .*unsquashfs: /);
    expect(said).toMatch(reason);
    expect([hint, ...more]).toEqual(["hint: nothing of it is left here", ""]);
    expectNothing(root);
  });

  test("but as it is, it is taken", async () => {
    await using root = berthRoot();
    expect(await pullImage(root, PLAIN, squashfs(root), "squashfs")).toMatchObject({
      status: 0,
      stdout: "",
      stderr: "",
    });
    const read = (path: string): Buffer => readFileSync(join(root.path, path));
    expect(read("machines/web/text").equals(read("rootfs/text"))).toBe(true);
  });

  describe("with attributes that no image gets", () => {
    /** More of them than of faults are looked at. */
    function attributed(root: BerthRoot): Buffer {
      const tree = root.directory("rootfs");
      const script =
        'import os, sys\nfor i in range(80):\n  path = f"{sys.argv[1]}/{i:03}"\n  open(path, "w").write("x" * 9)\n  os.setxattr(path, "trusted.evil", b"1")\n  os.setxattr(path, "user.good", b"1")';
      execFileSync("python3", ["-c", script, tree]);
      execFileSync("setcap", ["cap_net_raw=ep", join(tree, "000")]);
      return squashfs(root);
    }

    test("it is taken without these, and with all others", async () => {
      await using root = berthRoot();
      expect(await pullImage(root, PLAIN, attributed(root), "squashfs")).toMatchObject({
        status: 0,
        stderr: expect.stringMatching(/^.*left out: 80 attributes that can't be set here.*\n$/),
      });
      const script = "import os, sys; print(*sorted(os.listxattr(sys.argv[1])))";
      const attributes = (name: string): string =>
        execFileSync("python3", ["-c", script, join(root.machines, "web", name)], { encoding: "utf8" });
      expect(attributes("000")).toBe("security.capability user.good\n");
      expect(attributes("079")).toBe("user.good\n");
    });

    test("it is refused where one of the others has no room", async (ctx) => {
      needsHere(ctx, ...toolsOf("xfs"), ...toolsOf("ext4"));
      await using root = berthRoot();
      // ext4 has 4 kB for those of a file.
      using store = await mountFileSystem("ext4", join(root.path, "store"), async () => undefined);
      using large = await mountFileSystem("xfs", join(root.path, "large"), async (tree) => {
        const script = 'import os, sys; os.setxattr(sys.argv[1], "user.large", b"1" * 8192)';
        writeFileSync(join(tree, "file"), "");
        execFileSync("python3", ["-c", script, join(tree, "file")]);
      });
      const made = squashfs(root, large.path);
      root.env["BERTH_MACHINES"] = store.path;
      expect(await pullImage(root, PLAIN, made, "squashfs")).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(/refused: unsquashfs: write_xattr: .*user\.large.*no extended attribute space/),
      });
      expect(readdirSync(store.path).filter((name) => name !== "lost+found")).toEqual([]);
    });

    test("what is wrong after them all is seen", async () => {
      await using root = berthRoot();
      const bad = changed(attributed(root), (copy) => copy.fill(0x55, 4 << 20, (4 << 20) + 999));
      expect(await pullImage(root, PLAIN, bad, "squashfs")).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(/refused: unsquashfs: .*uncompress failed/),
      });
      expectNothing(root);
    });
  });

  /** No image, nothing of one in the making, no download, no mount. */
  function expectNothing(root: BerthRoot): void {
    expect(readdirSync(root.machines)).toEqual([]);
    expect(readdirSync(join(root.path, "run/images"))).toEqual([]);
    const downloads = join(root.path, "cache/downloads");
    expect(existsSync(downloads) ? readdirSync(downloads) : []).toEqual([]);
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(root.path);
    const ours = ["cache", "etc", "machines", "made.squashfs", "rootfs", "run"];
    expect(readdirSync(root.path).filter((name) => !ours.includes(name))).toEqual([]);
  }
});
