import { stat } from "node:fs/promises";
import type { Paths } from "../host/paths.ts";
import { readFileSystem } from "../host/tree-facts.ts";
import { requireName } from "../spec/name.ts";
import { suggest } from "../spec/nearest.ts";
import { countDisk } from "./count-disk.ts";
import { type FoundImage, findImage, findImages, HOST } from "./discover.ts";
import { type ImageInfo, isHidden, isImageName, noSuchImage, requireTree } from "./image.ts";
import { readHostname, readMachineId, readMachineInfo, readOsRelease } from "./inside.ts";

/** The store as a whole. */
export interface Pool {
  readonly path: string;
  /** Bytes on the disk; null: not known. */
  readonly usage: number | null;
  readonly limit: number | null;
}

/** The images of one root. */
export class ImageStore {
  readonly paths: Paths;
  /** What was last counted, by path. Counting a tree takes as long as reading its directories. */
  readonly #usage = new Map<string, number>();

  constructor(paths: Paths) {
    this.paths = paths;
  }

  /** All of them by name, hidden ones and the host's own tree included. Reads no tree, so that it is fast. */
  list(): readonly ImageInfo[] {
    const fsType = this.#fsType();
    const images = findImages(this.paths).flatMap((found) => this.#describe(found, fsType) ?? []);
    const host = this.#describe(HOST, readFileSystem("/").fsType);
    return [...(host === null ? [] : [host]), ...images];
  }

  /** @throws BerthError of kind NoSuchImage */
  get(name: string): ImageInfo {
    const info = this.#describe(this.#find(name), this.#fsType());
    if (info === null) throw noSuchImage(name, "it has just been removed");
    return info;
  }

  /** Counts what images use, so that `list` and `get` know it. Those that take longer than `within` ms are left as they were. */
  async measure(names: readonly string[], within: number): Promise<void> {
    const signal = AbortSignal.timeout(within);
    await Promise.all(
      names.map(async (name) => {
        const { path, driver } = this.#find(name);
        const usage = await driver.measure(path, signal).catch(() => null);
        if (usage !== null) this.#usage.set(path, usage);
      }),
    );
  }

  /** The same of the store. */
  async pool(within: number): Promise<Pool> {
    const path = this.paths.machines;
    const usage = (await exists(path)) ? await countDisk(path, AbortSignal.timeout(within)).catch(() => null) : 0;
    return { path, usage, limit: null };
  }

  osRelease(name: string): Readonly<Record<string, string>> {
    return readOsRelease(this.#tree(name));
  }

  machineInfo(name: string): Readonly<Record<string, string>> {
    return readMachineInfo(this.#tree(name));
  }

  hostname(name: string): string | null {
    return readHostname(this.#tree(name));
  }

  machineId(name: string): string | null {
    return readMachineId(this.#tree(name));
  }

  #tree(name: string): string {
    const image = this.get(name);
    requireTree(image, "cannot look into image");
    return image.path;
  }

  #find(name: string): FoundImage {
    if (!isImageName(name) && name !== HOST.name) requireName(name);
    const found = findImage(this.paths, name);
    if (found !== null) return found;
    const names = findImages(this.paths).map((image) => image.name);
    throw noSuchImage(name, suggest(name, names) ?? hintOf(names, this.paths.machines));
  }

  /** Null: it went meanwhile. */
  #describe({ name, path, driver }: FoundImage, fsType: string): ImageInfo | null {
    try {
      return {
        ...{ name, path, type: driver.type },
        ...{ usage: this.#usage.get(path) ?? null, limit: null, usageExclusive: null, limitExclusive: null },
        ...driver.read(path),
        ...{ driver: driver.name, why: driver.why(fsType) },
      };
    } catch {
      return null;
    }
  }

  #fsType(): string {
    return readFileSystem(this.paths.machines).fsType;
  }
}

function hintOf(names: readonly string[], store: string): string {
  const visible = names.filter((name) => !isHidden(name));
  return visible.length === 0 ? `${store} has no images` : "berth list-images shows those there are";
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
