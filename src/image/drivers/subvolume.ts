import { chmodSync, closeSync, constants, openSync, readFileSync, rmdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { BerthError, errorCode } from "../../errors.ts";
import { syncTree } from "../../host/to-disk.ts";
import {
  createSubvolume,
  destroySubvolume,
  isBtrfs,
  limitSubvolume,
  nestedSubvolumes,
  readSubvolume,
  type SubvolumeInfo,
  setSubvolumeReadOnly,
  snapshotSubvolume,
  startSync,
} from "../../sys/btrfs.ts";
import { limitOfGroup, limitStoreGroup, recount, storeGroup } from "../../sys/btrfs-quota.ts";
import { RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS } from "../../sys/constants.ts";
import { openat2 } from "../../sys/files.ts";
import { countDisk } from "../count-disk.ts";
import type { Driver } from "../driver.ts";
import type { ImageUsage } from "../image.ts";

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY;

/** A tree in a subvolume of btrfs: a clone is a snapshot, and it can have a limit. */
export const subvolumeDriver: Driver = {
  name: "btrfs",
  type: "subvolume",
  suffix: "",
  why: () => "a subvolume on btrfs: a clone is a snapshot",

  read(path) {
    const info = readSubvolume(path);
    return {
      readOnly: info.readOnly,
      created: info.created,
      modified: info.changed,
      identity: info.uuid,
      parentIdentity: info.parentUuid,
      ...quotaOf(info),
    };
  },

  measure: countDisk,
  create(path) {
    createSubvolume(path, storeGroup(dirname(path))?.id);
    chmodSync(path, 0o755);
  },

  async copy(from, to) {
    const source = openSync(from, DIRECTORY);
    const parent = openSync(dirname(to), DIRECTORY);
    try {
      const group = storeGroup(dirname(to));
      await snapshotAll(source, parent, basename(to), group?.id);
      if (group !== null) await recount(dirname(to), group);
    } finally {
      closeSync(source);
      closeSync(parent);
    }
  },

  async snapshot(from, to, still, signal) {
    await syncTree(from); // what a machine has written before is not written while it stands still
    await still.during(() => this.copy(from, to, signal));
  },

  discard(path) {
    try {
      destroySubvolume(path);
    } catch (error) {
      // Others are in it: rm(1) goes through them all.
      if (errorCode(error) !== "ENOTEMPTY") throw error;
    }
  },

  setReadOnly(path, readOnly) {
    try {
      setSubvolumeReadOnly(path, readOnly);
    } catch (error) {
      if (errorCode(error) !== "EDQUOT") throw error;
      // One that has more than it may has no room for what the kernel writes down.
      withoutLimits(path, () => setSubvolumeReadOnly(path, readOnly));
    }
  },

  setLimit(path, limit) {
    if (quotaOf(readSubvolume(path)).usage === undefined)
      throw new BerthError(`${path} can't have a limit: quotas are off on its file system`, {
        hint: `btrfs quota enable ${dirname(path)}, which makes snapshots slower`,
        kind: "NotSupported",
      });
    limitSubvolume(path, limit);
  },
};

function withoutLimits(path: string, use: () => void): void {
  const { limit = null } = quotaOf(readSubvolume(path));
  const store = dirname(path);
  const group = isBtrfs(store) ? storeGroup(store) : null;
  const together = group && limitOfGroup(group);
  // Whoever ends us meanwhile would take the limits away for good.
  using _held = holdSignals();
  try {
    if (limit !== null) limitSubvolume(path, null);
    if (together !== null) limitStoreGroup(store, null);
    use();
  } finally {
    try {
      if (limit !== null) limitSubvolume(path, limit);
    } finally {
      if (together !== null) limitStoreGroup(store, together);
    }
    // What was done between has brought to the disk that there are none.
    startSync(store);
  }
}

/** Until that is disposed of nobody but the kernel ends this process. */
function holdSignals(): Disposable {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const ignore = (): void => undefined;
  for (const signal of signals) process.on(signal, ignore);
  return { [Symbol.dispose]: () => signals.forEach((signal) => void process.off(signal, ignore)) };
}

/**
 * The kernel leaves an empty directory in a snapshot where another subvolume was, systemd makes some in its machines.
 * Those get snapshots of their own, in a copy that nobody else has yet. `group`: for the outermost alone, as a machine's are in none.
 */
async function snapshotAll(source: number, parent: number, name: string, group?: bigint): Promise<void> {
  await snapshotSubvolume(source, parent, name, group);
  const nested = nestedSubvolumes(source);
  if (nested.length === 0) return;
  const copy = openSync(`/proc/self/fd/${parent}/${name}`, DIRECTORY | constants.O_NOFOLLOW);
  const opened = [copy];
  const open = (root: number, path: string): number => {
    const fd = openat2(root, path, DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
    opened.push(fd);
    return fd;
  };
  try {
    for (const path of nested) {
      const directory = open(copy, dirname(path));
      rmdirSync(`/proc/self/fd/${directory}/${basename(path)}`);
      await snapshotAll(open(source, path), directory, basename(path));
    }
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

/** Nothing where quotas are off. Of its own quota group, which counts what it shares with others too. */
function quotaOf({ id, fileSystem }: SubvolumeInfo): Partial<ImageUsage> {
  const group = join("/sys/fs/btrfs", fileSystem, "qgroups", `0_${id}`);
  const read = (name: string): number => Number(readFileSync(join(group, name), "utf8"));
  try {
    const [limited, exclusive] = [read("limit_flags"), read("exclusive")];
    return {
      usage: read("referenced"),
      limit: limited & 1 ? read("max_referenced") : null,
      usageExclusive: exclusive,
      limitExclusive: limited & 2 ? read("max_exclusive") : null,
    };
  } catch {
    return {};
  }
}
