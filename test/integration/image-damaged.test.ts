/** What is told of a disk image by what is in its file system: that it is damaged, or that nobody can write to it. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { berthRoot, buildBerth } from "../lib/berth.ts";
import { DISK_TOOLS, makeFileSystem } from "../lib/disk-images.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";

const ready = needs("root", "cc", ...DISK_TOOLS);
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const MIB = 1 << 20;

test("a damaged file system is told of by the image's name, and how it may be repaired", async (ctx) => {
  needsHere(ctx, "tool:debugfs");
  await using root = berthRoot();
  const disk = join(root.machines, "web.raw");
  makeFileSystem("ext4", disk, { from: await probeTree(), size: 24 * MIB });
  const said = (command: string): string =>
    execFileSync("debugfs", ["-R", command, disk], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const blockSize = Number(/^Block size: *(\d+)$/m.exec(said("stats -h"))?.[1]);
  // The checksum of the root directory is wrong then.
  const block = Number(/\(0\):(\d+)/.exec(said("stat /"))?.[1]);
  const fd = openSync(disk, "r+");
  writeSync(fd, Buffer.alloc(4, 0xff), 0, 4, block * blockSize + 28);
  closeSync(fd);
  const what = `the file system (ext4) in ${disk} is damaged (EBADMSG)`;
  const run = await root.berth("run", "-M", "web", "--", "/probe");
  expect(run).toMatchObject({ status: 125, stdout: "" });
  expect(run.stderr).toContain(`berth: ${what}\nhint: fsck.ext4, on a loop device of it (losetup), may repair it;`);
  expect((await root.berth("image-status", "web")).stdout).toContain(`Problem  ${what}\n`);
});

test("an image of a file system that nobody can write to is shown as read-only", async (ctx) => {
  needsHere(ctx, "tool:mksquashfs", "tool:mkfs.erofs");
  await using root = berthRoot();
  const from = await probeTree();
  for (const fs of ["squashfs", "erofs"] as const)
    makeFileSystem(fs, join(root.machines, `${fs}.raw`), { from, size: 0 });
  makeFileSystem("ext4", join(root.machines, "ext4.raw"), { from, size: 24 * MIB });
  writeFileSync(join(root.machines, "short.raw"), "hs");
  for (const [name, readOnly] of Object.entries({ squashfs: "yes", erofs: "yes", ext4: "no", short: "no" }))
    expect((await root.berth("show-image", "-p", "ReadOnly", "--value", name)).stdout, name).toBe(`${readOnly}\n`);
  expect((await root.berth("image-status", "squashfs")).stdout).toMatch(/RO +read-only/);
});
