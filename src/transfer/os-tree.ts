import { randomBytes } from "node:crypto";
import { closeSync, openSync, statSync } from "node:fs";
import { readdir, rename, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { InRoot } from "../host/in-root.ts";
import { OS_RELEASE_PATHS } from "../host/os-release.ts";
import { copyTree } from "../image/copy-tree.ts";
import { setTimes } from "../sys/entries.ts";
import { O_DIRECTORY } from "../sys/files.ts";

/**
 * Makes `directory`, which something was unpacked into, the operating system's tree: what it is already, or what the only
 * directory in it is, as some archives have theirs one level down. As systemd's importer does it, by os-release.
 */
export async function liftOsTree(directory: string, signal: AbortSignal): Promise<void> {
  if (isOsTree(directory)) return;
  const [only, ...more] = await readdir(directory, { withFileTypes: true });
  if (only === undefined || more.length > 0 || !only.isDirectory()) return;
  const inner = join(directory, only.name);
  if (isOsTree(inner)) await lift(inner, directory, signal);
}

/** Entry by entry, as no rename leads out of a subvolume of btrfs. */
async function lift(inner: string, directory: string, signal: AbortSignal): Promise<void> {
  const times = statSync(inner, { bigint: true });
  // Something in it may have its name.
  const aside = join(directory, `.berth-lifted-${randomBytes(6).toString("hex")}`);
  await rename(inner, aside);
  for (const entry of await readdir(aside)) await rename(join(aside, entry), join(directory, entry));
  // Empty by now: what a root directory itself has, its owner, mode, ACLs and extended attributes.
  await copyTree(aside, directory, signal);
  await rmdir(aside);
  const fd = openSync(directory, O_DIRECTORY);
  try {
    setTimes(fd, times);
  } finally {
    closeSync(fd);
  }
}

function isOsTree(directory: string): boolean {
  const root = new InRoot(directory);
  try {
    return OS_RELEASE_PATHS.some((path) => root.resolve(path)?.type === "file");
  } finally {
    root.close();
  }
}
