import { readdirSync } from "node:fs";
import { checkName } from "../spec/name.ts";

/** Names of the trees in a machines directory: what could be started. */
export function listTrees(machines: string): readonly string[] {
  try {
    return readdirSync(machines, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && checkName(entry.name) === undefined)
      .map(({ name }) => name);
  } catch {
    return []; // there is none yet, or it is not for us
  }
}
