import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Paths } from "../host/paths.ts";
import { isLost } from "../host/pending-tree.ts";
import { removeImage } from "./changes.ts";
import { directoryDriver } from "./drivers/directory.ts";
import { isImageName } from "./image.ts";
import { settle } from "./later-writes.ts";

/**
 * What a power cut left of an image that was not on the disk yet: removed, with what else was of it. It had no snapshots, as what
 * has some is on the disk: those of its name are of an earlier image, and stay, as settings do that somebody wrote before it was made.
 */
export async function removeLost(paths: Paths, name: string): Promise<void> {
  const path = join(paths.machines, name);
  if (isImageName(name) && isLost(path)) await removeImage(paths, { name, path, driver: directoryDriver }, "lost");
}

/** Names of all that are lost. */
export function lostImages({ machines }: Paths): readonly string[] {
  return readdirSync(machines).filter((name) => isImageName(name) && isLost(join(machines, name)));
}

/** What is pending since a process was killed that was at it is brought to the disk. */
export async function settleAll({ machines }: Paths): Promise<void> {
  const failures: unknown[] = [];
  for (const path of readdirSync(machines).map((name) => join(machines, name)))
    try {
      if (!isLost(path)) await settle(path);
    } catch (error) {
      failures.push(error); // the others are seen to all the same
    }
  if (failures.length > 0) throw failures[0];
}
