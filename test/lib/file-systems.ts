/**
 * Directories on file systems of a test's own, unmounted at the end of the block whatever happens in it; a loop device
 * goes with its mount.
 *
 *   await using mounted = await mountFileSystem("btrfs", join(root.path, "disk"), async (directory) => { ... fill it ... });
 *   mounted.path                                     // where it is mounted
 *   needs(...toolsOf("btrfs"))
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Need } from "./requires.ts";

export const FILE_SYSTEMS = ["ext4", "btrfs", "xfs", "tmpfs", "overlay", "squashfs", "erofs"] as const;
export type FileSystem = (typeof FILE_SYSTEMS)[number];

const MAKE: Readonly<Partial<Record<FileSystem, readonly string[]>>> = {
  ext4: ["mkfs.ext4", "-q"],
  btrfs: ["mkfs.btrfs", "-q"],
  xfs: ["mkfs.xfs", "-q"],
};
const PACK: Readonly<Partial<Record<FileSystem, (image: string, from: string) => readonly string[]>>> = {
  squashfs: (image, from) => ["mksquashfs", from, image, "-quiet", "-no-progress"],
  erofs: (image, from) => ["mkfs.erofs", "--quiet", image, from],
};
/** XFS is at least 300 MB; the file has holes. */
const SIZE = 320 << 20;

export function toolsOf(type: FileSystem): readonly Need[] {
  const tool = MAKE[type]?.[0] ?? PACK[type]?.("", "")[0];
  return tool === undefined ? [] : [`tool:${tool}`, "file:/dev/loop-control"];
}

export function isPacked(type: FileSystem): boolean {
  return PACK[type] !== undefined;
}

export interface Mounted extends Disposable {
  readonly path: string;
}

/** `fill` gets an empty directory, whose content the file system has. `size`: bytes, of one on a loop device. */
export async function mountFileSystem(
  type: FileSystem,
  directory: string,
  fill: (directory: string) => Promise<unknown>,
  size = SIZE,
): Promise<Mounted> {
  const part = (name: string): string => join(directory, name);
  const path = part("mount");
  mkdirSync(path, { recursive: true });
  if (isPacked(type)) {
    mkdirSync(part("content"));
    await fill(part("content"));
  }
  const mounted = mount(type, path, part, size);
  try {
    if (!isPacked(type)) await fill(path);
  } catch (error) {
    mounted[Symbol.dispose]();
    throw error;
  }
  return mounted;
}

function mount(type: FileSystem, path: string, part: (name: string) => string, size: number): Mounted {
  run("mount", [...mountWords(type, part, size), path]);
  return {
    path,
    [Symbol.dispose]() {
      run("umount", [path]);
      rmSync(part(""), { recursive: true });
    },
  };
}

function mountWords(type: FileSystem, part: (name: string) => string, size: number): readonly string[] {
  const image = part("image");
  const pack = PACK[type]?.(image, part("content"));
  if (pack !== undefined) {
    const [tool = "", ...words] = pack;
    run(tool, words);
    return ["-t", type, "-o", "loop,ro", image];
  }
  switch (type) {
    case "tmpfs":
      return ["-t", "tmpfs", "-o", "mode=755", "tmpfs"];
    case "overlay": {
      for (const name of ["lower", "upper", "work"]) mkdirSync(part(name));
      const layers = `lowerdir=${part("lower")},upperdir=${part("upper")},workdir=${part("work")}`;
      return ["-t", "overlay", "-o", layers, "overlay"];
    }
    default: {
      const [tool = "", ...words] = MAKE[type] ?? [];
      writeFileSync(image, "");
      truncateSync(image, size);
      run(tool, [...words, image]);
      return ["-t", type, "-o", "loop", image];
    }
  }
}

function run(tool: string, words: readonly string[]): void {
  execFileSync(tool, words, { stdio: ["ignore", "ignore", "pipe"] });
}
