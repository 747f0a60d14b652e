/**
 * Images as registries have them, made of archives (tar.ts): to be pushed to a real registry, or to be pages of a site.
 *
 *   const image = ociImage([tar([...])], { Cmd: ["/probe"] });
 *   await push(url, "team/app", "1", image);                          // docker-registry, test/lib/registry.ts
 *   await using server = await site(pagesOf("team/app", { 1: image }));
 */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { freePort } from "./nginx.ts";
import { serve } from "./server-process.ts";
import type { Page } from "./site.ts";

export const ARCH = process.arch === "x64" ? "amd64" : process.arch;
const OCI = "application/vnd.oci.image";

export interface Blob {
  readonly type: string;
  readonly bytes: Buffer;
}

export interface Image {
  readonly manifest: Blob;
  readonly blobs: readonly Blob[];
  /** Of an index: what it names. */
  readonly manifests: readonly Blob[];
}

export function digestOf(bytes: Buffer): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

export function descriptor({ type, bytes }: Blob): object {
  return { mediaType: type, digest: digestOf(bytes), size: bytes.length };
}

const json = (type: string, value: object): Blob => ({ type, bytes: Buffer.from(JSON.stringify(value)) });

/** A layer: an archive by gzip. */
export function layer(archive: Buffer): Blob {
  return { type: `${OCI}.layer.v1.tar+gzip`, bytes: gzipSync(archive) };
}

export function ociImage(
  layers: readonly (Buffer | Blob)[],
  config: object = {},
  more: object = {},
  architecture = ARCH,
): Image {
  const blobs = layers.map((each) => (Buffer.isBuffer(each) ? layer(each) : each));
  const about = json(`${OCI}.config.v1+json`, { os: "linux", architecture, config });
  const manifest = json(`${OCI}.manifest.v1+json`, {
    ...{
      schemaVersion: 2,
      mediaType: `${OCI}.manifest.v1+json`,
      config: descriptor(about),
      layers: blobs.map(descriptor),
    },
    ...more,
  });
  return { manifest, blobs: [about, ...blobs], manifests: [] };
}

/** An index of images by architecture. */
export function ociIndex(images: Readonly<Record<string, Image>>): Image {
  const manifests = Object.entries(images).map(([architecture, { manifest }]) => ({
    ...descriptor(manifest),
    platform: { os: "linux", architecture },
  }));
  return {
    manifest: json(`${OCI}.index.v1+json`, { schemaVersion: 2, mediaType: `${OCI}.index.v1+json`, manifests }),
    manifests: Object.values(images).map(({ manifest }) => manifest),
    blobs: Object.values(images).flatMap(({ blobs }) => blobs),
  };
}

/** What a registry answers for a repository's images by tag. */
export function pagesOf(repository: string, images: Readonly<Record<string, Image>>): Record<string, Page> {
  const at = (kind: string, what: string): string => `/v2/${repository}/${kind}/${what}`;
  const page =
    ({ type, bytes }: Blob): Page =>
    (_, response) =>
      response.writeHead(200, { "content-type": type, "content-length": bytes.length }).end(bytes);
  return Object.fromEntries(
    Object.entries(images).flatMap(([tag, { manifest, manifests, blobs }]) => [
      [at("manifests", tag), page(manifest)],
      ...[manifest, ...manifests].map((each) => [at("manifests", digestOf(each.bytes)), page(each)]),
      ...blobs.map((each) => [at("blobs", digestOf(each.bytes)), page(each)]),
    ]),
  );
}

export async function push(url: string, repository: string, tag: string, image: Image): Promise<void> {
  for (const { bytes } of image.blobs) {
    const begun = await request(`${url}/v2/${repository}/blobs/uploads/`, { method: "POST" }, 202);
    const to = new URL(begun.headers.get("location") ?? "", url);
    to.searchParams.set("digest", digestOf(bytes));
    await request(to.href, { method: "PUT", body: new Uint8Array(bytes) }, 201);
  }
  for (const { type, bytes } of [...image.manifests, image.manifest]) {
    const version = bytes === image.manifest.bytes ? tag : digestOf(bytes);
    const headers = { "content-type": type };
    await request(
      `${url}/v2/${repository}/manifests/${version}`,
      { method: "PUT", headers, body: new Uint8Array(bytes) },
      201,
    );
  }
}

async function request(url: string, options: RequestInit, wanted: number): Promise<Response> {
  const answer = await fetch(url, options);
  const said = await answer.text();
  if (answer.status !== wanted) throw new Error(`${options.method} ${url}: ${answer.status} ${said}`);
  return answer;
}

export interface TestRegistry extends AsyncDisposable {
  readonly url: string;
  /** As references name it. */
  readonly host: string;
}

/** Debian's docker-registry on loopback. */
export async function dockerRegistry(): Promise<TestRegistry> {
  const directory = mkdtempSync(join(tmpdir(), "registry-"));
  mkdirSync(join(directory, "data"));
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  const config = {
    version: "0.1",
    log: { level: "error" },
    http: { addr: host },
    storage: { filesystem: { rootdirectory: join(directory, "data") } },
  };
  writeFileSync(join(directory, "config.yml"), JSON.stringify(config));
  const server = await serve(["docker-registry", "serve", join(directory, "config.yml")], port);
  return {
    ...{ url: `http://${host}`, host },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true });
    },
  };
}
