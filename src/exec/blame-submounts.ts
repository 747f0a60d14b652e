import { realpathSync } from "node:fs";
import { BerthError } from "../errors.ts";
import { readMounts } from "../host/mount-table.ts";
import { isBelow, isVisible } from "../host/mountinfo.ts";
import { visible } from "../spec/quote.ts";
import { SysError } from "../sys/errno.ts";

const SHOWN = 3;

/** Mounts are mapped all or none: what the kernel refuses may be one below. @returns the error to throw instead */
export function blameSubmounts(error: unknown, path: string): unknown {
  if (!(error instanceof SysError) || error.code !== "EINVAL") return error;
  const below = submounts(path);
  if (below.length === 0) return error;
  const some = below.slice(0, SHOWN).join(", ");
  const more = below.length > SHOWN ? ` and ${below.length - SHOWN} more` : "";
  const hint = `with it go the mounts below it, and one of them may not be able to map ids: ${some}${more}; a bind leaves them out with norbind`;
  return new BerthError(error.message, { hint, cause: error });
}

function submounts(path: string): readonly string[] {
  const mounts = readMounts();
  const real = realpathSync(path);
  return mounts
    .filter((mount) => mount.point !== real && isBelow(mount.point, real) && isVisible(mount, mounts))
    .map(({ point, fsType }) => `${visible(point)} (${fsType})`);
}
