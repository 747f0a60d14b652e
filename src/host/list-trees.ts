import { type Dirent, readdirSync } from "node:fs";
import { basename } from "node:path";
import { checkName } from "../spec/name.ts";
import { DISK_SUFFIX, STACK_SUFFIX } from "./tree-place.ts";

/** Names of the trees in a machines directory, whatever keeps them: what could be started. */
export function listTrees(machines: string): readonly string[] {
  return [
    ...new Set(
      entries(machines)
        .flatMap((entry) => {
          if (entry.isDirectory()) return [basename(entry.name, STACK_SUFFIX)];
          return entry.isFile() && entry.name.endsWith(DISK_SUFFIX) ? [basename(entry.name, DISK_SUFFIX)] : [];
        })
        .filter((name) => checkName(name) === undefined),
    ),
  ];
}

function entries(machines: string): readonly Dirent[] {
  try {
    return readdirSync(machines, { withFileTypes: true });
  } catch {
    return []; // there is none yet, or it is not for us
  }
}
