import { InRoot } from "../host/in-root.ts";
import { openTree } from "../host/open-tree.ts";
import { OS_RELEASE_PATHS, parseOsRelease } from "../host/os-release.ts";
import { checkHostname } from "../spec/name.ts";

/** What an image says of itself, read as text of the tree: a link in it leads nowhere out of it, and no fifo holds us up. */

const SIZE_MAX = 64 << 10;

type Fields = Readonly<Record<string, string>>;

/** Empty: it has none. */
export function readOsRelease(image: string): Fields {
  return parseOsRelease(firstOf(image, OS_RELEASE_PATHS) ?? "");
}

/** machine-info(5), which is written as os-release is. */
export function readMachineInfo(image: string): Fields {
  return parseOsRelease(firstOf(image, ["/etc/machine-info"]) ?? "");
}

/** hostname(5). Null: none, or none that could be one. */
export function readHostname(image: string): string | null {
  const lines = (firstOf(image, ["/etc/hostname"]) ?? "").split("\n").map((line) => line.trim());
  const name = lines.find((line) => line !== "" && !line.startsWith("#"));
  return name === undefined || checkHostname(name) !== undefined ? null : name;
}

/** machine-id(5), 32 hexadecimal digits. Null: it gets one when it first boots. */
export function readMachineId(image: string): string | null {
  return /^([0-9a-f]{32})\n?$/.exec(firstOf(image, ["/etc/machine-id"]) ?? "")?.[1] ?? null;
}

function firstOf(image: string, places: readonly string[]): string | null {
  using opened = openTree(image);
  for (const tree of opened.roots) {
    const root = new InRoot(tree);
    try {
      for (const place of places) {
        const text = root.readFile(place, SIZE_MAX);
        if (text !== null) return text.toString("utf8");
      }
    } finally {
      root.close();
    }
  }
  return null;
}
