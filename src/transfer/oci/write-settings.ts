import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { mkdir, open, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "../../errors.ts";
import type { Paths } from "../../host/paths.ts";
import { renameNoReplace } from "../../sys/files.ts";

/** Bytes; ours has less. */
const LENGTH_MAX = 4 << 20;

/**
 * Of a machine that has settings already these stay, as somebody wrote them for it; but for those that an earlier image of
 * this name brought, and that are as they were made. Returns what there is to say of that.
 */
export async function writeSettings(paths: Paths, name: string, text: string): Promise<string | undefined> {
  const directory = join(paths.etc, "machines");
  const path = join(directory, `${name}.nspawn`);
  const temporary = join(directory, `.berth-settings-${name}`);
  await mkdir(directory, { recursive: true });
  await writeFile(temporary, stamped(text), { mode: 0o644, flush: true });
  try {
    if (await isAsMade(path)) await rename(temporary, path);
    else renameNoReplace(temporary, path);
    return undefined;
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
    return `${path} stays as it is, so that this image's own command is not in it`;
  } finally {
    await rm(temporary, { force: true });
  }
}

export function stamped(text: string): string {
  return `# Made by berth of an image, and replaced with that as long as nobody changes it (${stampOf(text)}).\n${text}`;
}

async function isAsMade(path: string): Promise<boolean> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stat = await file.stat();
    if (!stat.isFile() || stat.size > LENGTH_MAX) return false;
    const before = await file.readFile("utf8");
    const line = before.indexOf("\n") + 1;
    return before === stamped(before.slice(line));
  } catch {
    return false;
  }
}

function stampOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
