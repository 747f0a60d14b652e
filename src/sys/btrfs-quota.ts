import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "../errors.ts";
import { call, fileSystemOf, subvolumeId, withDirectory } from "./btrfs.ts";
import { bindThreaded, pinned } from "./libc.ts";

/**
 * What the subvolumes of a store may take together: a quota group above theirs, `200/ID` with the id of the store's own
 * subvolume. Whatever is made in the store later is put into it by who makes it: the kernel does not (linux/btrfs.h).
 *
 * The store's own subvolume is not in it: in a group that has reached its limit nothing could be removed.
 */
const LEVEL = 200n;

const QGROUP_ASSIGN = 0x40189429;
const QGROUP_CREATE = 0x4010942a;
const QGROUP_LIMIT = 0x8030942b;
const QUOTA_RESCAN = 0x4040942c;
const QUOTA_RESCAN_WAIT = 0x942e;
const MAX_RFER = 1n;

const ioctlInThread = bindThreaded("int ioctl(int fd, ulong request, void *argument)");

/** Of the store that a directory is in. */
export interface StoreGroup {
  readonly id: bigint;
  /** Where sysfs has what is known of it. */
  readonly path: string;
}

/** Null: nobody has limited that store. */
export function storeGroup(directory: string): StoreGroup | null {
  const group = groupOf(directory);
  return existsSync(group.path) ? group : null;
}

/** Whether quotas are on at all. */
export function hasQuotas(directory: string): boolean {
  return existsSync(join(groupOf(directory).path, ".."));
}

function groupOf(directory: string): StoreGroup {
  return withDirectory(directory, (fd) => {
    const id = subvolumeId(fd, directory);
    const path = join("/sys/fs/btrfs", fileSystemOf(fd, directory), "qgroups", `${LEVEL}_${id}`);
    return { id: (LEVEL << 48n) | id, path };
  });
}

/** Bytes; null: there is none. */
export function limitOfGroup({ path }: StoreGroup): number | null {
  const read = (name: string): number => Number(readFileSync(join(path, name), "utf8"));
  return read("limit_flags") & 1 ? read("max_referenced") : null;
}

/** Limits what these subvolumes of a store, and those that are made in it later, take together. What they share counts once. */
export async function limitStore(store: string, subvolumes: readonly string[], limit: number | null): Promise<void> {
  const group = groupOf(store);
  if (!existsSync(group.path)) createGroup(store, group.id);
  const isNew = subvolumes.map((path) => assign(store, path, group.id)).some(Boolean);
  if (isNew) await rescan(store, true);
  limitStoreGroup(store, limit);
}

/** Of a store that has such a group. */
export function limitStoreGroup(store: string, limit: number | null): void {
  withDirectory(store, (fd) => {
    const argument = pinned(48);
    argument.writeBigUInt64LE(groupOf(store).id, 0);
    argument.writeBigUInt64LE(MAX_RFER, 8);
    argument.writeBigUInt64LE(limit === null ? 2n ** 64n - 1n : BigInt(limit), 16);
    call(fd, QGROUP_LIMIT, argument, "BTRFS_IOC_QGROUP_LIMIT", store);
  });
}

function createGroup(store: string, id: bigint): void {
  const argument = pinned(16);
  argument.writeBigUInt64LE(1n, 0);
  argument.writeBigUInt64LE(id, 8);
  withDirectory(store, (fd) => call(fd, QGROUP_CREATE, argument, "BTRFS_IOC_QGROUP_CREATE", store));
}

/** False: it was in it. */
function assign(store: string, path: string, group: bigint): boolean {
  const argument = pinned(24);
  argument.writeBigUInt64LE(1n, 0);
  argument.writeBigUInt64LE(
    withDirectory(path, (fd) => subvolumeId(fd, path)),
    8,
  );
  argument.writeBigUInt64LE(group, 16);
  try {
    withDirectory(store, (fd) => call(fd, QGROUP_ASSIGN, argument, "BTRFS_IOC_QGROUP_ASSIGN", path));
    return true;
  } catch (error) {
    if (errorCode(error) === "EEXIST") return false;
    throw error;
  }
}

/** Kernels before 6.9 can't say what a snapshot in a group changes: they count nothing any more until all is counted anew. */
export async function recount(directory: string, { path }: StoreGroup): Promise<void> {
  if (readFileSync(join(path, "../inconsistent"), "utf8").trim() === "1") await rescan(directory, false);
}

/** Counts all of the file system, in the kernel. */
async function rescan(directory: string, isAwaited: boolean): Promise<void> {
  withDirectory(directory, (fd) => {
    try {
      call(fd, QUOTA_RESCAN, pinned(64), "BTRFS_IOC_QUOTA_RESCAN", directory);
    } catch (error) {
      if (errorCode(error) !== "EINPROGRESS") throw error;
    }
  });
  if (!isAwaited) return;
  const fd = openSync(directory, "r");
  try {
    await ioctlInThread("ioctl BTRFS_IOC_QUOTA_RESCAN_WAIT", { path: directory }, fd, QUOTA_RESCAN_WAIT, null);
  } finally {
    closeSync(fd);
  }
}
