import { dirname } from "node:path";
import { BerthError } from "../errors.ts";
import { runCommand } from "../host/command.ts";

/**
 * Copies a tree to a path that does not exist: owners, modes, times, hard links, holes, ACLs and extended attributes
 * (security.capability of ping) included; shares the blocks where the file system can (btrfs, xfs).
 *
 * One cp(1), after measuring 5,100 files and 103 MB with two cores, in ms (ext4 / btrfs / xfs): cp 480 / 300 / 270, two
 * cp of half the tree each 345 / 210 / 230, tar to tar 690 / 590 / 480, cpio -p 1000 / 1400 / 730. A btrfs snapshot
 * would need every tree to be a subvolume, which is the storage drivers' business.
 */
export async function copyTree(from: string, to: string, signal: AbortSignal): Promise<void> {
  const result = await runCommand("cp", ["-a", "--reflink=auto", "-T", "--", from, to], { signal });
  if (result.ok) return;
  const said = result.tail.at(-1) ?? "";
  const full = result.tail.some((line) => line.includes("No space left on device"));
  throw new BerthError(`cannot copy the tree ${from}: cp ${result.status}: ${said}`, {
    // Of the store: the workspace in it that the copy was made in is gone by the time this is read.
    hint: full ? `make room on the file system of ${dirname(dirname(to))}` : undefined,
  });
}
