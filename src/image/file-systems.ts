import { readFileSync, realpathSync, statfsSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { release } from "node:os";
import { basename } from "node:path";
import type { Mount } from "../host/mountinfo.ts";

/** What file systems can do for clones. */

/** On these copies share the blocks of files. */
const REFLINK = new Set(["btrfs", "xfs", "bcachefs"]);

/** Those whose files can have all that overlayfs wants to note, by their numbers in statfs(2), and since which kernel. */
const LAYERED: Readonly<Record<string, { readonly type: number; readonly since?: readonly [number, number] }>> = {
  ext4: { type: 0xef53 },
  f2fs: { type: 0xf2f52010 },
  // Before it had no attributes that the root of a user namespace may set.
  tmpfs: { type: 0x01021994, since: [6, 6] },
};

/**
 * Those where each change of a file, by whichever way, sets its ctime before it can be read, and where what is written through a mapping
 * does so again after it went to the disk: ext2 to ext4, xfs, btrfs, f2fs. Not tmpfs, which writes nothing to a disk.
 */
const NOTES_CHANGES: ReadonlySet<number> = new Set([0xef53, 0x58465342, 0x9123683e, 0xf2f52010]);

/** `type`: of statfs(2). */
export function notesChanges(type: number): boolean {
  return NOTES_CHANGES.has(type);
}

/** Whether what is changed first comes to the disk no later than what is changed after it: a journal, or a tree that is written as a whole, sees to that. */
export function ordersChanges({ fsType, source }: Mount): boolean {
  return fsType === "xfs" || fsType === "btrfs" || (fsType === "ext4" && hasJournal(source));
}

/** Of ext4 the thread that writes the journal is told of, `<none>` where there is none. */
function hasJournal(device: string): boolean {
  try {
    return /^\d/.test(readFileSync(`/sys/fs/ext4/${basename(realpathSync(device))}/journal_task`, "utf8"));
  } catch {
    return false; // a name that is no device's here: /dev/root
  }
}

export function sharesBlocks(fsType: string): boolean {
  return REFLINK.has(fsType);
}

/** Their numbers in statfs(2). */
const REFLINK_NUMBERS: ReadonlySet<number> = new Set([0x9123683e, 0x58465342, 0xca451a4e]);

/** The same of what lies at `path`. */
export function sharesBlocksAt(path: string): boolean {
  return REFLINK_NUMBERS.has(statfsSync(path).type);
}

/** Whether a clone had best share layers there: it has nothing better, and can keep what is written to a stack. */
export function takesLayers(fsType: string): boolean {
  const layered = LAYERED[fsType];
  return layered !== undefined && isKernelFrom(layered.since ?? [0, 0]);
}

/** The same of a directory. */
export function takesLayersAt(directory: string): boolean {
  const { type } = statfsSync(directory);
  return Object.keys(LAYERED).some((name) => LAYERED[name]?.type === type && takesLayers(name));
}

/** By their names in the mount table, with their numbers in statfs(2). */
const LOCAL: ReadonlyMap<string, number> = new Map([
  ["ext4", 0xef53],
  ["xfs", 0x58465342],
  ["btrfs", 0x9123683e],
  ["f2fs", 0xf2f52010],
  ["tmpfs", 0x01021994],
  ["overlay", 0x794c7630],
]);
const LOCAL_NUMBERS: ReadonlySet<number> = new Set(LOCAL.values());

/** Whether this process may look at directories there itself: no server, and no program of somebody, has to answer. */
export async function isLocalAt(directory: string): Promise<boolean> {
  return LOCAL_NUMBERS.has((await statfs(directory)).type);
}

/** The same of a mount, without asking the file system itself. Not of an overlay: a server may have what is below it. */
export function isLocal({ fsType }: Mount): boolean {
  return fsType !== "overlay" && LOCAL.has(fsType);
}

function isKernelFrom([major, minor]: readonly [number, number]): boolean {
  const [ours = 0, ourMinor = 0] = release()
    .split(".")
    .map((part) => Number.parseInt(part, 10));
  return ours > major || (ours === major && ourMinor >= minor);
}
