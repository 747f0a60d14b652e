import { lstatSync } from "node:fs";
import { dirname } from "node:path";
import { errorCode } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { quote } from "../spec/quote.ts";
import type { FoundImage } from "./discover.ts";
import { stackDriver } from "./drivers/stack.ts";
import { machineOf } from "./hold-tree.ts";
import { findOverlayMark } from "./overlay-marks.ts";
import { listSnapshots } from "./snapshots/snapshot.ts";

/** Why a directory can't become a layer of its clone. */
export interface Obstacle {
  /** What follows "as". */
  readonly why: string;
  readonly hint?: string | undefined;
}

/** What stays in the way until somebody changes it. */
export function lastingObstacle(paths: Paths, { name, path }: FoundImage): Obstacle | null {
  if (dirname(path) !== paths.machines) return { why: "it is a snapshot of a directory" };
  if (!lstatSync(path).isDirectory()) return { why: "it is a link to a tree elsewhere, which is left as it is" };
  // Who goes back to a snapshot of it as a tree has a tree again.
  const snapshots = listSnapshots(paths, name).filter((snapshot) => snapshot.driver !== stackDriver.name);
  if (snapshots.length === 0) return null;
  const names = snapshots.slice(0, MOST_NAMED).map((snapshot) => `${name}@${snapshot.name}`);
  const more = snapshots.length > names.length ? `, and the other ${snapshots.length - names.length},` : "";
  return { why: "it has snapshots", hint: `without them it can: berth remove ${names.join(" ")}${more}` };
}

const MOST_NAMED = 3;

/** And what is so for as long as it is used. */
export function obstacleNow(paths: Paths, image: FoundImage): Obstacle | null {
  const lasting = lastingObstacle(paths, image);
  if (lasting !== null) return lasting;
  const machine = machineOf(image.name, image.path, paths);
  if (machine === undefined) return null;
  return { why: "a machine runs from it", hint: `berth poweroff ${machine} stops the machine` };
}

/** What would be hidden in a layer, of a directory that nobody changes. */
export async function hiddenInLayer({ path }: FoundImage): Promise<Obstacle | null> {
  try {
    const mark = await findOverlayMark(path);
    if (mark === null) return null;
    return {
      why: `overlayfs would hide what containers in it have left: ${quote(mark.toString("latin1").replace(/^\.\//, ""))}`,
    };
  } catch (error) {
    if (errorCode(error) !== "ENAMETOOLONG") throw error;
    return { why: "paths in it are longer than the kernel takes them" };
  }
}

/** Of one that could not be had for a layer a moment ago. */
export const SOMEBODY: Obstacle = { why: "somebody else reads or uses it" };
