import { closeSync, constants, fsyncSync, openSync } from "node:fs";
import { open } from "node:fs/promises";
import { openFileSystem } from "../sys/sync-fs.ts";

/** What was done must be there after a power cut, and come to the disk in an order in which nothing is ever half there. */

/** All that was written to the file system of `path`. */
export async function syncTree(path: string): Promise<void> {
  using fileSystem = openFileSystem(path);
  await fileSystem.sync();
}

/** A file or directory itself: its content, mode, flags, and the names in it. */
export async function syncPath(path: string): Promise<void> {
  const file = await open(path, FLAGS);
  await file.sync().finally(() => file.close());
}

/** The same here and now, which takes some milliseconds: of what is small. */
export function syncPathNow(path: string): void {
  const fd = openSync(path, FLAGS);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
