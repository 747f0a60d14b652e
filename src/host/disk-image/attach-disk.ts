import type { DiskPart } from "../../plan/disk-part.ts";
import type { ConfinedMount } from "../confine.ts";
import { openDiskTree } from "./disk-tree.ts";
import { attachPart } from "./mount-part.ts";

export interface AttachedDisk extends Disposable {
  readonly mounts: readonly ConfinedMount[];
}

/** Devices of a disk image's partitions, for who mounts them in a namespace of their own. They are there until it is disposed of. @throws BerthError */
export async function attachDisk(image: string): Promise<AttachedDisk> {
  using stack = new DisposableStack();
  const attach = (part: DiskPart, target: string): ConfinedMount => {
    const { path, options } = stack.use(attachPart(image, part));
    return { device: path, type: part.fsType, options, target };
  };
  using tree = await openDiskTree(image);
  const { storage } = tree;
  const mounts = [attach(storage.root, "/"), ...storage.mounts.map((part) => attach(part, part.target))];
  const kept = stack.move();
  return { mounts, [Symbol.dispose]: () => kept[Symbol.dispose]() };
}
