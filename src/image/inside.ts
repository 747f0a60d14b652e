import { readImage } from "../host/damaged.ts";
import { InRoot } from "../host/in-root.ts";
import { openImage } from "../host/open-image.ts";
import type { OpenTree, PartitionView } from "../host/open-tree.ts";
import { OS_RELEASE_PATHS, parseOsRelease } from "../host/os-release.ts";
import { checkHostname } from "../spec/name.ts";

/** What an image says of itself, read as text of the tree: a link in it leads nowhere out of it, and no fifo holds us up. */

const SIZE_MAX = 64 << 10;

type Fields = Readonly<Record<string, string>>;

export interface Inside {
  /** Empty: it has none. */
  readonly osRelease: Fields;
  /** machine-info(5), which is written as os-release is. */
  readonly machineInfo: Fields;
  /** hostname(5). Null: none, or none that could be one. */
  readonly hostname: string | null;
  /** machine-id(5), 32 hexadecimal digits. Null: it gets one when it first boots. */
  readonly machineId: string | null;
  /** Of a disk image. */
  readonly partitions: readonly PartitionView[];
}

/** @throws BerthError when the image can't be opened */
export async function readInside(image: string): Promise<Inside> {
  using tree = await openImage(image);
  return readImage(image, tree, () => insideOf(tree));
}

function insideOf({ roots, partitions = [] }: OpenTree): Inside {
  return {
    partitions,
    osRelease: parseOsRelease(firstOf(roots, OS_RELEASE_PATHS) ?? ""),
    machineInfo: parseOsRelease(firstOf(roots, ["/etc/machine-info"]) ?? ""),
    hostname: hostnameIn(firstOf(roots, ["/etc/hostname"]) ?? ""),
    machineId: /^([0-9a-f]{32})\n?$/.exec(firstOf(roots, ["/etc/machine-id"]) ?? "")?.[1] ?? null,
  };
}

/** The same of a directory alone. */
export function readOsRelease(tree: string): Fields {
  return parseOsRelease(firstOf([tree], OS_RELEASE_PATHS) ?? "");
}

function hostnameIn(text: string): string | null {
  const lines = text.split("\n").map((line) => line.trim());
  const name = lines.find((line) => line !== "" && !line.startsWith("#"));
  return name === undefined || checkHostname(name) !== undefined ? null : name;
}

function firstOf(roots: readonly string[], places: readonly string[]): string | null {
  for (const tree of roots) {
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
