import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { InRoot } from "../host/in-root.ts";
import { OS_RELEASE_PATHS } from "../host/os-release.ts";

/**
 * The operating system's tree in what was unpacked: the directory itself, or the only one in it, as some archives have
 * theirs one level down. As systemd's importer does it, by os-release.
 */
export async function osTreeIn(directory: string): Promise<string> {
  if (isOsTree(directory)) return directory;
  const entries = await readdir(directory, { withFileTypes: true });
  const [only, ...more] = entries;
  if (only === undefined || more.length > 0 || !only.isDirectory()) return directory;
  const inner = join(directory, only.name);
  return isOsTree(inner) ? inner : directory;
}

function isOsTree(directory: string): boolean {
  const root = new InRoot(directory);
  try {
    return OS_RELEASE_PATHS.some((path) => root.resolve(path)?.type === "file");
  } finally {
    root.close();
  }
}
