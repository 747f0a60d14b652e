import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import type { ImageStore } from "../image/store.ts";
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
  selectPlatform,
} from "./oci/manifest.ts";
import { parseReference, type Reference, showReference } from "./oci/reference.ts";
import { credentialsFor, serverOf } from "./oci/registries.ts";
import { Registry, wrongDigest } from "./oci/registry.ts";
import { settingsOf } from "./oci/settings.ts";
import { writeSettings } from "./oci/write-settings.ts";
import type { Control } from "./transfer.ts";
import type { NewImage } from "./transfers.ts";

export interface OciOptions {
  /** Debian's name. */
  readonly architecture: string;
  readonly keepDownload: boolean;
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
  let config: ImageConfig | undefined;
  await store.make({ ...image, signal }, async (workspace, driver) => {
    const manifest = await findManifest(registry, reference, options.architecture, control);
    config = await fetchConfig(registry, manifest.config, signal);
    const layers = new Layers(registry, store, workspace);
    try {
      await layers.fetch(manifest.layers, { ...control, progress: (at) => progress(at * DOWNLOAD) });
      const rest = { ...control, progress: (at: number) => progress(DOWNLOAD + at * (1 - DOWNLOAD)) };
      const tree = await unpackLayers(layers.paths(manifest.layers), { workspace, driver, control: rest });
      await layers.close(options.keepDownload);
      return tree;
    } finally {
      await layers.close(false);
    }
  });
  if (config !== undefined) {
    const { text, left } = settingsOf(config, showReference(reference));
    for (const each of left) log(`left out of the settings: ${each}`, 4);
    const warning = await writeSettings(paths, image.name, text);
    if (warning !== undefined) log(warning, 4);
  }
  log(`${image.name} is complete`);
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
  const config = readConfig(parseJson(bytes, "the configuration of the image"));
  if (config.os === "" || config.os === "linux") return config;
  throw new BerthError("the image is not for Linux", { kind: "NotSupported" });
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
