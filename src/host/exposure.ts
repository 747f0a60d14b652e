import { realpathSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { mountOf, parseMountinfo } from "./mountinfo.ts";

const GROUP_SEARCH = 0o010;
const OTHERS_SEARCH = 0o001;

/**
 * Whether users of the host can come to a file below `path` that is theirs to run: no directory on the way keeps them
 * out (path_resolution(7)), and the mount heeds set-user-ID bits. `path` itself does not count, as root inside may open
 * it to all. False as well where there is nothing, or nothing we may see.
 */
export function isExposed(path: string, readMountinfo: () => string): boolean {
  try {
    const real = realpathSync.native(path);
    for (let directory = real; directory !== "/"; ) {
      directory = dirname(directory);
      if (keepsOut(directory)) return false;
    }
    return mountOf(parseMountinfo(readMountinfo()), real)?.options.includes("nosuid") !== true;
  } catch {
    return false;
  }
}

/** Only root and root's group get through. */
function keepsOut(directory: string): boolean {
  const { mode, uid, gid } = statSync(directory);
  return uid === 0 && (mode & OTHERS_SEARCH) === 0 && ((mode & GROUP_SEARCH) === 0 || gid === 0);
}
