import { createHash } from "node:crypto";
import { constants, rmSync, writeFileSync } from "node:fs";
import { mkdir, open, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "../../errors.ts";
import type { Paths } from "../../host/paths.ts";
import { syncPath } from "../../host/to-disk.ts";
import { renameNoReplace } from "../../sys/files.ts";

/** Bytes; ours has less. */
const LENGTH_MAX = 4 << 20;

export interface WrittenSettings {
  /** Why there are none of it. */
  readonly warning: string | null;
  /** Makes them what they were before. */
  readonly undo: () => void;
}

/**
 * Of a machine that has settings already these stay, as somebody wrote them for it; but for those that an earlier image of
 * this name brought, and that are as they were made.
 */
export async function writeSettings(paths: Paths, name: string, text: string): Promise<WrittenSettings> {
  const directory = join(paths.etc, "machines");
  const path = join(directory, `${name}.nspawn`);
  const temporary = join(directory, `.berth-settings-${name}`);
  await mkdir(directory, { recursive: true });
  await writeFile(temporary, stamped(text), { mode: 0o644, flush: true });
  try {
    const before = await asMade(path);
    if (before !== null) await rename(temporary, path);
    else renameNoReplace(temporary, path);
    await syncPath(directory);
    const undo = (): void => (before === null ? rmSync(path, { force: true }) : writeFileSync(path, before));
    return { warning: null, undo };
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
    const warning = `${path} stays as it is, so that this image's own command is not in it`;
    return { warning, undo: () => undefined };
  } finally {
    await rm(temporary, { force: true });
  }
}

export function stamped(text: string): string {
  return `# Made by berth of an image, and replaced with that as long as nobody changes it (${stampOf(text)}).\n${text}`;
}

/** Its text; null: it is not as it was made, or is none. */
async function asMade(path: string): Promise<string | null> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stat = await file.stat();
    if (!stat.isFile() || stat.size > LENGTH_MAX) return null;
    const before = await file.readFile("utf8");
    const line = before.indexOf("\n") + 1;
    return before === stamped(before.slice(line)) ? before : null;
  } catch {
    return null;
  }
}

function stampOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
