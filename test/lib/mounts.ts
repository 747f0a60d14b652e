/**
 * /proc/self/mountinfo as a machine shows it:
 *
 *   parseMounts(answers.text("mounts")).get("/srv")     // { type: "tmpfs", options: ["rw", "nodev"], superOptions: [...] }
 */
import { parseMountinfo } from "../../src/host/mountinfo.ts";

export interface SeenMount {
  readonly type: string;
  /** Of the mount itself. The kernel does not name strictatime. */
  readonly options: readonly string[];
  readonly superOptions: readonly string[];
}

/** By mount point; of those on one place the topmost. */
export function parseMounts(text: string): ReadonlyMap<string, SeenMount> {
  return new Map(
    parseMountinfo(text).map(({ point, fsType, options, superOptions }) => [
      point,
      { type: fsType, options, superOptions },
    ]),
  );
}
