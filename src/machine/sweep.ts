import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { removeCgroup } from "../exec/cgroup.ts";
import { lockFile, unlinkLocked } from "../exec/lock-file.ts";
import type { Paths } from "../host/paths.ts";
import { recordsDirectory } from "./places.ts";
import type { MachineRecord } from "./record.ts";

/**
 * Removes what machines left whose supervisor was killed: record, cgroup, an ephemeral machine's changes. The name's
 * lock tells: the keeper holds it as long as it lives. Returns the names.
 */
export function sweep(paths: Paths): readonly string[] {
  const records = recordsDirectory(paths);
  return list(records).filter((name) => {
    const path = join(paths.run, "locks", name);
    const lock = lockFile(path);
    if (lock === null) return false;
    try {
      const record = readLeftover(join(records, name));
      if (record !== undefined) removeCgroup(record.cgroup);
      if (typeof record?.layer === "string") rmSync(record.layer, { recursive: true, force: true });
      rmSync(join(records, name), { recursive: true, force: true });
    } finally {
      unlinkLocked(path, lock);
    }
    return true;
  });
}

function readLeftover(directory: string): MachineRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(directory, "record.json"), "utf8")) as MachineRecord;
  } catch {
    return undefined; // its launch did not get that far
  }
}

function list(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
