import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Paths } from "../../host/paths.ts";

/** In the store: `.berth-snapshots/NAME/SNAP/`. */
export const SNAPSHOTS = ".berth-snapshots";

/** Beside the snapshots of an image: a rollback that is decided, and still to be done in part. */
export const HALF = ".rolling-back";

/** Whether somebody was killed while an image was rolled back. */
export function isHalfRolledBack({ machines }: Pick<Paths, "machines">, image: string): boolean {
  return existsSync(join(machines, SNAPSHOTS, image, HALF));
}
