import { type Dirent, readdirSync } from "node:fs";
import { checkName } from "../spec/name.ts";
import { nameOfTree } from "./tree-place.ts";

/** Names of the trees in a machines directory, whatever keeps them: what could be started. */
export function listTrees(machines: string): readonly string[] {
  return [
    ...new Set(
      entries(machines)
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => nameOfTree(name))
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
