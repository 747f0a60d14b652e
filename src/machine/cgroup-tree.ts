import { readdirSync, readFileSync } from "node:fs";
import { words } from "../host/host-files.ts";

/** Levels of a machine's cgroups that are looked through: it may have no more (exec/cgroup.ts), if it is not told otherwise. */
export const DEPTH_MAX = 64;

/** A cgroup's own processes, by pid on the host. None: it has just gone. */
export function members(cgroup: string): readonly number[] {
  return words(textOf(cgroup, "cgroup.procs")).map(Number);
}

/** Names of the cgroups right below one. None: it has just gone. */
export function children(cgroup: string): readonly string[] {
  try {
    return readdirSync(cgroup, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return [];
  }
}

/** Of a file of a cgroup; empty where there is no such file: a cgroup that has just gone, a host whose payload/ is elsewhere. */
export function textOf(cgroup: string, file: string): string {
  try {
    return readFileSync(`${cgroup}/${file}`, "utf8");
  } catch {
    return "";
  }
}
