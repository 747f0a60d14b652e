import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Paths } from "../host/paths.ts";
import { cloneDriver, findImage } from "../image/discover.ts";
import type { Driver } from "../image/driver.ts";
import { MOST_LAYERS, stackDriver } from "../image/drivers/stack.ts";
import { requireFree } from "../image/make.ts";
import type { CopiedSettings } from "../image/settings-follow.ts";
import type { ImageStore } from "../image/store.ts";
import { prepareStore } from "../image/workspace.ts";
import { type Download, download } from "./download.ts";
import { unpackLayers } from "./oci/layers.ts";
import {
  CONFIG_MAX,
  type Descriptor,
  type ImageConfig,
  INDEX_TYPES,
  isIndex,
  MANIFEST_TYPES,
  type Manifest,
  parseJson,
  readConfig,
  readManifest,
  requirePlatform,
  selectPlatform,
} from "./oci/manifest.ts";
import { parseReference, type Reference, showReference } from "./oci/reference.ts";
import { credentialsFor, serverOf } from "./oci/registries.ts";
import { Registry, wrongDigest } from "./oci/registry.ts";
import { settingsOf } from "./oci/settings.ts";
import { makeLayered } from "./oci/stack.ts";
import { writeSettings } from "./oci/write-settings.ts";
import type { Control } from "./transfer.ts";
import type { NewImage } from "./transfers.ts";

export interface OciOptions {
  /** Debian's name. */
  readonly architecture: string;
  readonly keepDownload: boolean;
  /** Null: what suits the file system best. */
  readonly driver: "directory" | "stack" | null;
}

/** Of the whole what the downloads take, for the bar. */
const DOWNLOAD = 0.7;
/** Layers that are downloaded at a time. */
const AT_ONCE = 3;

/** An image of a registry: its layers become the tree, what it says of how to run it its settings. @throws BerthError */
export async function pullOci(
  store: ImageStore,
  address: string,
  image: NewImage,
  options: OciOptions,
  control: Control,
): Promise<void> {
  const { signal, log, progress } = control;
  const reference = parseReference(address);
  const { paths } = store;
  const registry = new Registry(serverOf(reference, paths), reference, credentialsFor(reference, paths));
  if (!image.replace) requireFree(paths, image.name);
  const manifest = await findManifest(registry, reference, options.architecture, control);
  const config = await fetchConfig(registry, manifest.config, signal);
  requirePlatform(config, options.architecture);
  // What suits its file system is asked of the store.
  await prepareStore(paths.machines);
  const driver = driverFor(paths, image, manifest, options.driver);
  const settings = (): ReturnType<typeof configure> =>
    configure(paths, image.name, config, showReference(reference), control);
  await store.make({ ...image, signal, settings, ...(driver && { driver }) }, async (workspace, best) => {
    const layers = new Layers(registry, store, workspace);
    const fetch = async (wanted: readonly Descriptor[]): Promise<readonly string[]> => {
      await layers.fetch(wanted, { ...control, progress: (at) => progress(at * DOWNLOAD) });
      return layers.paths(wanted);
    };
    const unpacking = { ...control, progress: (at: number) => progress(DOWNLOAD + at * (1 - DOWNLOAD)) };
    try {
      const tree =
        best === stackDriver
          ? await makeLayered({ layers: manifest.layers, store: paths.machines, workspace, fetch, control: unpacking })
          : await unpackLayers(await fetch(manifest.layers), { workspace, driver: best, control: unpacking });
      await layers.close(options.keepDownload);
      return tree;
    } finally {
      await layers.close(false);
    }
  });
  log(`${image.name} is complete`);
}

/** Of those that every clone adds. */
const SPARE = 5;

/** Undefined: a tree. Layers are shared where the file system shares nothing better, and an image that is replaced has them. */
function driverFor(
  paths: Paths,
  { name }: NewImage,
  { layers }: Manifest,
  wanted: OciOptions["driver"],
): Driver | undefined {
  if (wanted !== null) return wanted === "stack" ? stackDriver : undefined;
  const old = findImage(paths, name);
  const fits = layers.length <= MOST_LAYERS - SPARE && (old === null || old.driver === stackDriver);
  return fits && cloneDriver(paths.machines) === stackDriver ? stackDriver : undefined;
}

async function configure(
  paths: Paths,
  name: string,
  config: ImageConfig,
  reference: string,
  { log }: Control,
): Promise<Pick<CopiedSettings, "undo">> {
  const { text, left } = settingsOf(config, reference);
  for (const each of left) log(`left out of the settings: ${each}`, 4);
  const { warning, undo } = await writeSettings(paths, name, text);
  if (warning !== null) log(warning, 4);
  return { undo };
}

async function findManifest(
  registry: Registry,
  reference: Reference,
  architecture: string,
  { signal, log }: Control,
): Promise<Manifest> {
  const types = [...INDEX_TYPES, ...MANIFEST_TYPES];
  const named = await registry.manifest(reference.version, types, signal);
  log(`${showReference(reference)} is ${named.digest}`);
  const value = parseJson(named.bytes, "the manifest of the image");
  if (!isIndex(value, named.type)) return readManifest(value);
  const { digest } = selectPlatform(value, architecture);
  const { bytes } = await registry.manifest(digest, MANIFEST_TYPES, signal);
  return readManifest(parseJson(bytes, "the manifest of the image"));
}

async function fetchConfig(
  registry: Registry,
  { digest, size }: Descriptor,
  signal: AbortSignal,
): Promise<ImageConfig> {
  const bytes = await registry.blob(digest, Math.min(size, CONFIG_MAX), signal);
  return readConfig(parseJson(bytes, "the configuration of the image"));
}

/** The blobs of an image's layers, each once, on the disk. */
class Layers {
  readonly #registry: Registry;
  readonly #store: ImageStore;
  readonly #workspace: string;
  readonly #blobs = new Map<string, Download>();

  constructor(registry: Registry, store: ImageStore, workspace: string) {
    this.#registry = registry;
    this.#store = store;
    this.#workspace = workspace;
  }

  /** Should one of them fail, the others are not waited for. */
  async fetch(layers: readonly Descriptor[], { progress, ...control }: Control): Promise<void> {
    const left = [...new Map(layers.map((layer) => [layer.digest, layer])).values()];
    const total = left.reduce((sum, { size }) => sum + size, 0);
    const done = new Map<string, number>();
    const failed = new AbortController();
    const signal = AbortSignal.any([control.signal, failed.signal]);
    const worker = async (): Promise<void> => {
      for (let layer = left.shift(); layer !== undefined; layer = left.shift()) {
        const { digest, size } = layer;
        const onProgress = (at: number): void => {
          done.set(digest, at * size);
          progress([...done.values()].reduce((sum, bytes) => sum + bytes, 0) / Math.max(1, total));
        };
        await this.#fetchOne(layer, { ...control, signal, progress: onProgress });
      }
    };
    const workers = Array.from({ length: AT_ONCE }, () =>
      worker().catch((error: unknown) => {
        failed.abort(error);
        throw error;
      }),
    );
    await Promise.allSettled(workers);
    control.signal.throwIfAborted();
    await Promise.all(workers);
  }

  async #fetchOne({ digest, size }: Descriptor, { signal, log, progress }: Control): Promise<void> {
    const url = this.#registry.blobUrl(digest);
    const workspace = join(this.#workspace, digest.slice("sha256:".length));
    await mkdir(workspace, { mode: 0o700 });
    const blob = await download(url, {
      ...{ cache: this.#store.paths.cache, workspace, signal, log, onProgress: progress },
      // Whatever registry it is from.
      ...{ key: digest, size },
      open: (headers, wanted, aborted) => this.#registry.get(url, headers, wanted, aborted),
    });
    this.#blobs.set(digest, blob);
    if (`sha256:${blob.sha256}` !== digest) throw wrongDigest(url, `sha256:${blob.sha256}`, digest);
  }

  paths(layers: readonly Descriptor[]): readonly string[] {
    return layers.map(({ digest }) => this.#blobs.get(digest)?.path ?? "");
  }

  async close(keep: boolean): Promise<void> {
    const blobs = [...this.#blobs.values()];
    this.#blobs.clear();
    for (const blob of blobs) await blob.close(keep);
  }
}
