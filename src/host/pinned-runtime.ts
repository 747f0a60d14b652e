import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/**
 * The Node version that the nearest package.json at or above `directory` pins for this architecture (the
 * node-linux-* packages); null in an installation without one.
 */
export function findPinnedRuntime(directory: string, arch: string = process.arch): string | null {
  for (let at = directory; ; at = dirname(at)) {
    const text = readOrNull(join(at, "package.json"));
    const version = text === null ? undefined : optionalDependency(text, `node-linux-${arch}`);
    if (version !== undefined) return version;
    if (at === dirname(at)) return null;
  }
}

function optionalDependency(text: string, name: string): string | undefined {
  const description: { optionalDependencies?: Record<string, string> } = JSON.parse(text);
  return description.optionalDependencies?.[name];
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}
