/**
 * Disk images for tests, made by the system's own tools.
 *
 *   makeFileSystem("ext4", path, { from: tree, size: 64 << 20 });     // one file system, no table
 *   makeDisk(path, { parts: [
 *     { type: "root", fs: "ext4", from: tree, size: 64 << 20 },
 *     { type: "home", fs: "ext4", from: homes, size: 16 << 20, attributes: "GUID:60" },
 *   ] });                                                              // a GPT
 *   makeDisk(path, { label: "dos", parts: [{ type: "83", fs: "ext4", from: tree, size, bootable: true }] });
 *
 * `needs(...DISK_TOOLS)`; of a file system other than ext4 also toolsOf(fs) of file-systems.ts.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Need } from "./requires.ts";

export const DISK_TOOLS: readonly Need[] = ["tool:sfdisk", "tool:mkfs.ext4", "file:/dev/loop-control"];

export type DiskFileSystem = "ext4" | "xfs" | "btrfs" | "squashfs" | "erofs" | "vfat";

const TYPES: Readonly<Record<string, string>> = {
  root: process.arch === "arm64" ? "b921b045-1df0-41c3-af44-4c6f280d3fae" : "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
  usr: process.arch === "arm64" ? "b0e01050-ee5f-4390-949a-9101b17104e9" : "8484680c-9521-48c6-9c11-b0720656f69e",
  home: "933ac7e1-2eb4-4f13-b844-0e14e2aef915",
  srv: "3b8f8425-20e0-4f3b-907f-1a25a76f98e8",
  var: "4d21b016-b534-45c2-a9fb-5c16e091fd2d",
  esp: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
  linux: "0fc63daf-8483-4772-8e79-3d69d8477de4",
  swap: "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f",
};

export interface Content {
  readonly from: string;
  readonly size: number;
}

export interface Part {
  /** By name, or as sfdisk takes it. */
  readonly type: string;
  readonly size: number;
  /** Undefined: nothing is in it. */
  readonly fs?: DiskFileSystem;
  readonly from?: string;
  readonly label?: string;
  readonly attributes?: string;
  readonly bootable?: boolean;
}

const MIB = 1 << 20;

/** With all that is in a directory. */
export function makeFileSystem(fs: DiskFileSystem, path: string, { from, size }: Content): void {
  rmSync(path, { force: true });
  if (fs === "squashfs") run("mksquashfs", from, path, "-quiet", "-no-progress");
  else if (fs === "erofs") run("mkfs.erofs", "--quiet", path, from);
  else {
    writeFileSync(path, "");
    truncateSync(path, size);
    if (fs === "ext4") run("mkfs.ext4", "-q", "-d", from, path);
    // Empty: who fills one needs a kernel that has it.
    else if (fs === "vfat") run("mkfs.vfat", path);
    else if (fs === "btrfs") run("mkfs.btrfs", "-q", "--rootdir", from, path);
    else {
      run("mkfs.xfs", "-q", path);
      const mount = mkdtempSync(join(dirname(path), "mount-"));
      run("mount", "-o", "loop", path, mount);
      try {
        run("cp", "-a", `${from}/.`, mount);
      } finally {
        run("umount", mount);
        rmSync(mount, { recursive: true });
      }
    }
  }
  chmodSync(path, 0o600);
}

export function makeDisk(
  path: string,
  { label = "gpt", parts }: { label?: "gpt" | "dos"; parts: readonly Part[] },
): void {
  const contents = parts.map((part, index) => {
    if (part.fs === undefined || part.from === undefined) return undefined;
    const file = `${path}.part${index}`;
    makeFileSystem(part.fs, file, { from: part.from, size: part.size });
    return file;
  });
  const sizes = parts.map(({ size }, index) => Math.ceil(Math.max(size, sizeOf(contents[index])) / MIB));
  const starts = sizes.map((_, index) => 1 + sizes.slice(0, index).reduce((sum, size) => sum + size, 0));
  makeTable(
    path,
    label,
    parts.map((part, index) => ({ ...part, start: starts[index] ?? 0, size: sizes[index] ?? 0 })),
  );
  for (const [index, file] of contents.entries()) {
    if (file === undefined) continue;
    run("dd", `if=${file}`, `of=${path}`, "bs=1M", `seek=${starts[index]}`, "conv=notrunc,sparse", "status=none");
    rmSync(file);
  }
}

/** `start` and `size` in MiB. */
export function makeTable(path: string, label: "gpt" | "dos", parts: readonly (Part & { start: number })[]): void {
  const end = Math.max(...parts.map(({ start, size }) => start + size));
  closeSync(openSync(path, "w", 0o600));
  truncateSync(path, (end + 1) * MIB);
  const lines = parts.map(({ start, size, type, label: name, attributes, bootable }) =>
    [
      `start=${start}MiB, size=${size}MiB, type=${TYPES[type] ?? type}`,
      ...(name === undefined ? [] : [`name="${name}"`]),
      ...(attributes === undefined ? [] : [`attrs="${attributes}"`]),
      ...(bootable === true ? ["bootable"] : []),
    ].join(", "),
  );
  execFileSync("sfdisk", ["-q", "--no-tell-kernel", path], {
    input: `label: ${label}\n${lines.join("\n")}\n`,
    stdio: ["pipe", "ignore", "pipe"],
  });
}

function sizeOf(path: string | undefined): number {
  return path === undefined ? 0 : statSync(path).size;
}

function run(tool: string, ...words: readonly string[]): void {
  execFileSync(tool, words, { stdio: ["ignore", "ignore", "pipe"] });
}
