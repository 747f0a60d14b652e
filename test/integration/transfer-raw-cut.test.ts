/** Disk images that are not all there: refused with nothing left where something is certainly missing, else kept and said. */
import { execFileSync } from "node:child_process";
import { copyFileSync, readdirSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { DISK_TOOLS, makeDisk, makeFileSystem } from "../lib/disk-images.ts";
import { toolsOf } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";

const ready = needs("root", "cc", ...DISK_TOOLS);
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const MIB = 1 << 20;
const KIB = 1 << 10;
const GPT_COPY = 33 * 512;

function images(root: BerthRoot): string[] {
  return readdirSync(root.machines).filter((name) => name !== ".berth-ranges.json" && !name.endsWith(".lock"));
}

/** What berth says of a copy of `path` with only so many bytes of it. */
async function importCut(root: BerthRoot, path: string, length: number): Promise<{ status: number; stderr: string }> {
  const cut = join(root.path, "cut.raw");
  copyFileSync(path, cut);
  truncateSync(cut, length);
  const { status, stderr } = await root.berth("import-raw", "--force", cut, "cut");
  return { status: status ?? -1, stderr };
}

const refused = (why: RegExp) => ({
  status: 1,
  stderr: expect.stringMatching(new RegExp(`^berth: the image is refused: it is cut: ${why.source}`)),
});

test("import-raw: a qcow2 with clusters or tables beyond its end is refused, whole ones of any kind are not", async (ctx) => {
  needsHere(ctx, "tool:qemu-img");
  await using root = berthRoot();
  const disk = join(root.path, "web.raw");
  makeFileSystem("ext4", disk, { from: await probeTree(), size: 24 * MIB });
  const kinds = [[], ["-o", "compat=0.10"], ["-o", "cluster_size=512"], ["-o", "extended_l2=on"], ["-c"]];
  for (const options of kinds) {
    const file = join(root.path, "web.qcow2");
    execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", ...options, disk, file]);
    const { size } = statSync(file);
    const whole = await root.berth("import-raw", file, "whole");
    expect(whole, options.join(" ")).toMatchObject({ status: 0, stderr: "" });
    expect((await root.berth("remove", "whole")).status).toBe(0);
    for (const length of [200, Math.floor(size / 2)])
      expect(await importCut(root, file, length), `${options.join(" ")} ${length}`).toMatchObject(
        refused(/clusters of this qcow2 lie beyond its end/),
      );
    expect(images(root)).toEqual([]);
  }
  // Where qemu-img check finds nothing: with no table at all, and within the last cluster.
  const file = join(root.path, "web.qcow2");
  execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", disk, file]);
  for (const length of [3 * 64 * KIB, statSync(file).size - 100])
    expect(await importCut(root, file, length)).toMatchObject(refused(/clusters/));
  expect(images(root)).toEqual([]);
});

test("import-raw: a file system that says it is larger than the file is refused, as a whole disk and in a partition", async (ctx) => {
  needsHere(ctx, ...toolsOf("xfs"), ...toolsOf("btrfs"), "tool:mksquashfs", "tool:mkfs.erofs");
  await using root = berthRoot();
  const disk = join(root.path, "web.raw");
  const from = await probeTree();
  for (const fs of ["ext4", "xfs", "btrfs", "squashfs", "erofs"] as const) {
    makeFileSystem(fs, disk, { from, size: 320 * MIB });
    const { size } = statSync(disk);
    expect(await importCut(root, disk, size), fs).toEqual({ status: 0, stderr: "" });
    expect((await root.berth("remove", "cut")).status).toBe(0);
    expect(await importCut(root, disk, size - 8 * KIB), fs).toMatchObject(
      refused(new RegExp(`the ${fs} in it takes \\d+ bytes, and there are ${size - 8 * KIB}`)),
    );
    expect(images(root)).toEqual([]);
  }
  makeDisk(disk, { label: "dos", parts: [{ type: "83", size: 24 * MIB, fs: "ext4", from }] });
  expect(await importCut(root, disk, 20 * MIB)).toMatchObject(
    refused(/the file system in partition 1 takes bytes up to/),
  );
  expect(images(root)).toEqual([]);
});

test("import-raw: a GPT that is cut is refused; one without its second copy is kept and said", async () => {
  await using root = berthRoot();
  const disk = join(root.path, "web.raw");
  makeDisk(disk, { parts: [{ type: "root", size: 24 * MIB, fs: "ext4", from: await probeTree() }] });
  const { size } = statSync(disk);
  expect(await importCut(root, disk, size - GPT_COPY - 512)).toMatchObject(
    refused(new RegExp(`the partition table \\(GPT\\) is that of a disk of ${size} bytes`)),
  );
  expect(images(root)).toEqual([]);
  const { status, stderr } = await importCut(root, disk, size - GPT_COPY);
  expect([status, stderr]).toEqual([
    0,
    expect.stringContaining("it may have been cut: the second copy of its partition"),
  ]);
  expect((await root.berth("image-status", "cut")).stdout).toContain("ext4 on /");
});

test("import-raw: a partition that ends beyond the file is said, where nothing tells that content is missing", async () => {
  await using root = berthRoot();
  const disk = join(root.path, "web.raw");
  const from = await probeTree();
  makeDisk(disk, {
    label: "dos",
    parts: [
      { type: "83", size: 24 * MIB, fs: "ext4", from, bootable: true },
      { type: "c", size: 8 * MIB },
    ],
  });
  expect(await importCut(root, disk, 28 * MIB)).toMatchObject({
    status: 0,
    stderr: expect.stringContaining("it may have been cut: partition 2 ends beyond the end of the image"),
  });
});
