import { accessSync, constants } from "node:fs";
import { join } from "node:path";

/** Where programs of the system are looked for (command.ts), whatever PATH the user has. */
export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Its path, or what `place` makes of the first that it makes something of; undefined: this host has none. */
export function findProgram(
  name: string,
  place: (path: string) => string | undefined = (path) => path,
): string | undefined {
  for (const directory of SYSTEM_PATH.split(":")) {
    const path = join(directory, name);
    const found = isExecutable(path) ? place(path) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
