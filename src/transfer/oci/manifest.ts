import { BerthError } from "../../errors.ts";
import { quote } from "../../spec/quote.ts";
import { isDigest } from "./reference.ts";

/** Manifests of Docker (schema 2) and OCI: what of them is used, read from somebody else's JSON. Pure. */

export const INDEX_TYPES = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
] as const;
export const MANIFEST_TYPES = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
] as const;

export interface Descriptor {
  readonly type: string;
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
}

export interface Manifest {
  readonly config: Descriptor;
  /** From the lowest. */
  readonly layers: readonly Descriptor[];
}

const LAYERS_MAX = 256;
export const CONFIG_MAX = 1 << 20;
const SIZE_MAX = 2 ** 40;

/** How Go, and so OCI, calls what Debian calls so. */
const PLATFORMS: Readonly<Record<string, string>> = { i386: "386", armhf: "arm", armel: "arm", ppc64el: "ppc64le" };

/** @throws BerthError where it is none */
export function parseJson(bytes: Buffer, what: string): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw new BerthError(`${what} is no JSON`, { cause: error });
  }
}

export function isIndex(value: unknown, type: string): boolean {
  return (
    INDEX_TYPES.some((each) => each === type) ||
    (!MANIFEST_TYPES.some((each) => each === type) && Array.isArray(field(value, "manifests")))
  );
}

/** The manifest of an index that is for Linux and an architecture (Debian's name). @throws BerthError that says which there are */
export function selectPlatform(index: unknown, architecture: string): Descriptor {
  const wanted = PLATFORMS[architecture] ?? architecture;
  const there: string[] = [];
  for (const entry of listOf(field(index, "manifests"))) {
    const platform = field(entry, "platform");
    const [os, of, variant] = [textOf(platform, "os"), textOf(platform, "architecture"), textOf(platform, "variant")];
    const descriptor = descriptorOf(entry);
    if (descriptor === undefined || os !== "linux") continue;
    if (of === wanted && fits(architecture, variant)) return descriptor;
    there.push(variant === "" ? of : `${of}/${variant}`);
  }
  throw new BerthError(`the image is not there for ${architecture}`, {
    hint:
      there.length === 0
        ? "it has nothing for Linux"
        : `it is there for ${there
            .slice(0, SHOWN)
            .map((name) => quote(name).slice(1, -1))
            .join(", ")}; --arch chooses`,
  });
}

/** What an index says of an image it has to say itself, where there is none. @throws BerthError */
export function requirePlatform({ os, architecture: of }: ImageConfig, architecture: string): void {
  if (os !== "" && os !== "linux") throw new BerthError("the image is not for Linux", { kind: "NotSupported" });
  if (of === "" || of === (PLATFORMS[architecture] ?? architecture)) return;
  throw new BerthError(`the image is not there for ${architecture}`, {
    hint: `it is there for ${quote(of).slice(1, -1)}; --arch chooses`,
  });
}

const SHOWN = 12;

function fits(architecture: string, variant: string): boolean {
  if (architecture === "armhf") return variant === "" || variant === "v7";
  return architecture !== "armel" || ["", "v5", "v6"].includes(variant);
}

/** @throws BerthError for what is not what it should be, and for layers that can't be unpacked */
export function readManifest(value: unknown): Manifest {
  const config = descriptorOf(field(value, "config"));
  const layers = listOf(field(value, "layers"));
  if (field(value, "schemaVersion") !== 2 || config === undefined || config.size > CONFIG_MAX)
    throw new BerthError("the manifest of the image is refused: it is none of Docker's schema 2 or OCI's");
  if (layers.length === 0 || layers.length > LAYERS_MAX)
    throw new BerthError(
      `the manifest of the image is refused: it has ${layers.length} layers, which 1 to ${LAYERS_MAX} can be`,
    );
  return { config, layers: layers.map(layerOf) };
}

const LAYER_TYPES =
  /^application\/vnd\.(oci\.image\.layer\.v1\.tar(\+gzip|\+zstd)?|docker\.image\.rootfs\.diff\.tar(\.gzip|\.zstd)?)$/;

function layerOf(value: unknown): Descriptor {
  const layer = descriptorOf(value);
  if (layer === undefined) throw new BerthError("the manifest of the image is refused: a layer has no digest and size");
  if (LAYER_TYPES.test(layer.type)) return layer;
  throw new BerthError(`the image is refused: a layer of it is ${quote(layer.type)}`, {
    hint: "tar archives can be unpacked: not encrypted ones, and none that the registry does not have itself",
  });
}

function descriptorOf(value: unknown): Descriptor | undefined {
  const [type, digest, size] = [textOf(value, "mediaType"), textOf(value, "digest"), field(value, "size")];
  if (!isDigest(digest) || typeof size !== "number" || !Number.isInteger(size) || size < 0 || size > SIZE_MAX)
    return undefined;
  return { type, digest, size };
}

/** What an image's configuration says of how to run it. */
export interface ImageConfig {
  readonly os: string;
  readonly architecture: string;
  readonly command: readonly string[];
  /** NAME=VALUE. */
  readonly environment: readonly string[];
  readonly user: string;
  readonly directory: string;
  readonly stopSignal: string;
}

export function readConfig(value: unknown): ImageConfig {
  const config = field(value, "config");
  return {
    os: textOf(value, "os"),
    architecture: textOf(value, "architecture"),
    command: [...textsOf(field(config, "Entrypoint")), ...textsOf(field(config, "Cmd"))],
    environment: textsOf(field(config, "Env")),
    user: textOf(config, "User"),
    directory: textOf(config, "WorkingDir"),
    stopSignal: textOf(config, "StopSignal"),
  };
}

function field(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, key) ? Reflect.get(value, key) : undefined;
}

function textOf(value: unknown, key: string): string {
  const text = field(value, key);
  return typeof text === "string" ? text : "";
}

function textsOf(value: unknown): readonly string[] {
  return listOf(value).filter((each): each is string => typeof each === "string");
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
