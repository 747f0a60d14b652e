import type { DiskPart } from "../../plan/disk-part.ts";
import { closeQuietly } from "../../sys/files.ts";
import type { ViewMount } from "../view-image.ts";
import { openDiskTree } from "./disk-tree.ts";
import { mountPart } from "./mount-part.ts";

export interface AttachedDisk extends Disposable {
  /** By their places in the tree, the one on `/` first. */
  readonly mounts: readonly ViewMount[];
}

/** A disk image's partitions, mounted detached and read-only, for a confined program that reads all. @throws BerthError */
export async function attachDisk(image: string): Promise<AttachedDisk> {
  using stack = new DisposableStack();
  const attach = async (part: DiskPart, at: string): Promise<ViewMount> => ({
    fd: stack.adopt(await mountPart(image, part, "read-only"), closeQuietly),
    at,
  });
  using tree = await openDiskTree(image);
  const { storage } = tree;
  const mounts = [await attach(storage.root, "/")];
  for (const part of storage.mounts) mounts.push(await attach(part, part.target));
  const kept = stack.move();
  return { mounts, [Symbol.dispose]: () => kept[Symbol.dispose]() };
}
