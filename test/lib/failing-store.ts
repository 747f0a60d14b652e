/**
 * A store whose blocks are on a disk that has fewer of them than it says: what can't be written there is EIO, long after write(2).
 *
 *   needs("root", ...toolsOf("ext4"));
 *   using _store = failingStore(root);               // at root.machines
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BerthRoot } from "./berth.ts";

const SIZE = 300 << 20;

export function failingStore(root: BerthRoot): Disposable {
  const disk = join(root.path, "small");
  mkdirSync(disk);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=40m", "berth-test", disk]);
  const file = join(disk, "disk");
  try {
    writeFileSync(file, "");
    truncateSync(file, SIZE);
    execFileSync("mkfs.ext4", ["-q", "-F", "-E", "nodiscard,lazy_itable_init=1", file]);
    execFileSync("mount", ["-o", "loop,errors=remount-ro", file, root.machines]);
  } catch (error) {
    execFileSync("umount", [disk]);
    throw error;
  }
  return {
    [Symbol.dispose]() {
      for (const path of [root.machines, disk]) execFileSync("umount", [path]);
      rmSync(disk, { recursive: true });
    },
  };
}
