import { readdirSync } from "node:fs";
import { join } from "node:path";
import { removeLeftovers } from "../exec/leftovers.ts";
import { lockFile, unlinkLocked } from "../exec/lock-file.ts";
import type { Paths } from "../host/paths.ts";
import { recordsDirectory } from "./places.ts";

/**
 * Removes what machines left whose supervisor was killed, be it in the midst of a launch: record, cgroup, range, an
 * ephemeral machine's changes. The name's lock tells: the keeper holds it as long as it lives. Returns the names.
 */
export function sweep(paths: Paths): readonly string[] {
  const records = recordsDirectory(paths);
  return list(records).filter((name) => {
    const path = join(paths.run, "locks", name);
    const lock = lockFile(path);
    if (lock === null) return false;
    try {
      removeLeftovers(join(records, name));
    } finally {
      unlinkLocked(path, lock);
    }
    return true;
  });
}

function list(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
