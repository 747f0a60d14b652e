import { accessSync, constants } from "node:fs";
import { join } from "node:path";

/** Where programs of the system are looked for (command.ts), whatever PATH the user has. */
export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Its path; undefined: this host has none. */
export function findProgram(name: string): string | undefined {
  return SYSTEM_PATH.split(":")
    .map((directory) => join(directory, name))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
