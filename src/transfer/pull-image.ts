import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { BerthError } from "../errors.ts";
import type { Driver } from "../image/driver.ts";
import type { ImageStore } from "../image/store.ts";
import { openArchiveFile } from "./archive-input.ts";
import { type Download, download } from "./download.ts";
import { extractArchive } from "./extract.ts";
import { liftOsTree } from "./os-tree.ts";
import type { RootFormat } from "./simplestreams.ts";
import { unpackSquashfs } from "./squashfs.ts";
import { applyTemplates, unpackMetadata } from "./templates.ts";
import type { Control } from "./transfer.ts";
import type { NewImage } from "./transfers.ts";
import { requireUrl, showUrl } from "./url.ts";

/** An image of an image server, as simplestreams.ts found it. */
export interface ImageFiles {
  readonly metadata: Located | null;
  readonly root: Located;
  readonly format: RootFormat;
  /** SHA-256 of both together. */
  readonly fingerprint: string;
}

export interface Located {
  readonly url: string;
  readonly sha256: string;
  readonly size: number;
}

const METADATA_MAX = 16 << 20;
/** Of the whole what the downloads take, for the bar. */
const DOWNLOAD = 0.8;

/** Both files are on the disk and verified before anything looks into them. @throws BerthError */
export async function pullImage(
  store: ImageStore,
  files: ImageFiles,
  image: NewImage,
  keepDownload: boolean,
  control: Control,
): Promise<void> {
  const { signal, log, progress } = control;
  const { metadata, root, format } = files;
  if (metadata !== null && metadata.size > METADATA_MAX)
    throw new BerthError(`${metadata.url} is refused: metadata of ${metadata.size} bytes`);
  await store.make({ ...image, signal }, async (workspace, driver) => {
    const fetch = (file: Located, name: string, onProgress: (at: number) => void): Promise<Fetched> =>
      fetchVerified(store, file, join(workspace, name), { ...control, progress: onProgress });
    await using about = metadata === null ? null : await fetch(metadata, "about", () => undefined);
    await using tree = await fetch(root, "root", (at) => progress(at * DOWNLOAD));
    await requireFingerprint(files, [about, tree], signal);
    log("verified, by checksum");
    const made = await unpackRoot(tree.path, format, { workspace, driver, control });
    const described = about === null ? made.metadata : await unpackMetadata(about.path, workspace, control);
    if (described !== null) await applyTemplates(made.tree, described, image.name, control);
    for (const each of [about, tree]) each?.keep(keepDownload);
    progress(1);
    return made.tree;
  });
  log(`${image.name} is complete`);
}

interface Fetched extends AsyncDisposable {
  readonly path: string;
  keep(keep: boolean): void;
}

async function fetchVerified(store: ImageStore, file: Located, workspace: string, control: Control): Promise<Fetched> {
  const { signal, log, progress } = control;
  const url = requireUrl(file.url);
  await mkdir(workspace, { mode: 0o700 });
  log(`downloading ${showUrl(url)}`);
  const { cache } = store.paths;
  const got: Download = await download(url, { cache, workspace, signal, log, onProgress: progress, size: file.size });
  let kept = false;
  const fetched = {
    path: got.path,
    keep: (keep: boolean) => {
      kept = keep;
    },
    [Symbol.asyncDispose]: () => got.close(kept),
  };
  if (got.sha256 === file.sha256) return fetched;
  await got.close(false);
  throw new BerthError(`${showUrl(url)} is refused: its SHA-256 is ${got.sha256}, not ${file.sha256}`, {
    hint: "it was changed on its way, or is just being replaced on the server; try again later",
  });
}

/** What the image is called by is the checksum of both together. */
async function requireFingerprint(
  files: ImageFiles,
  parts: readonly (Fetched | null)[],
  signal: AbortSignal,
): Promise<void> {
  const hash = createHash("sha256");
  for (const part of parts)
    if (part !== null)
      await pipeline(
        createReadStream(part.path, { highWaterMark: 1 << 20 }),
        async (chunks: AsyncIterable<Buffer>) => {
          for await (const chunk of chunks) hash.update(chunk);
        },
        { signal },
      );
  const found = hash.digest("hex");
  if (found === files.fingerprint) return;
  throw new BerthError(`the image is refused: its fingerprint is ${found}, not ${files.fingerprint}`, {
    hint: "metadata and root on the server do not belong together; try again later",
  });
}

interface Unpacking {
  readonly workspace: string;
  readonly driver: Driver;
  readonly control: Control;
}

interface Unpacked {
  readonly tree: string;
  /** Where all was in one archive. */
  readonly metadata: string | null;
}

async function unpackRoot(
  path: string,
  format: RootFormat,
  { workspace, driver, control }: Unpacking,
): Promise<Unpacked> {
  const { signal, log } = control;
  if (format === "squashfs") return { tree: await unpackSquashfs(path, workspace, driver, control), metadata: null };
  const directory = join(workspace, "tree");
  // What is below one of a file system's own volumes can't be renamed out of it.
  if (format === "combined") await mkdir(directory, { mode: 0o700 });
  else driver.create(directory);
  using archive = openArchiveFile(path);
  await extractArchive(await archive.input(signal), directory, { signal, onLine: (line) => log(line, 4) });
  if (format === "tar") {
    await liftOsTree(directory, signal);
    return { tree: directory, metadata: null };
  }
  if (
    !(await readdir(directory, { withFileTypes: true })).some((entry) => entry.name === "rootfs" && entry.isDirectory())
  )
    throw new BerthError("the image is refused: there is no rootfs/ in it");
  return { tree: join(directory, "rootfs"), metadata: directory };
}
