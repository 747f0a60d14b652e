import { openSync } from "node:fs";
import { BerthError } from "../errors.ts";
import { rawDriver } from "../image/drivers/raw.ts";
import type { ImageStore } from "../image/store.ts";
import { closeQuietly } from "../sys/files.ts";
import { publishedChecksum, signedChecksum } from "./checksums.ts";
import { download } from "./download.ts";
import { HttpRefusal, open } from "./http.ts";
import { unpackInto } from "./import.ts";
import { writeDisk } from "./import-raw.ts";
import type { Control, Verify } from "./transfer.ts";
import type { NewImage } from "./transfers.ts";
import { requireUrl, showUrl } from "./url.ts";

/** Of the whole what the download takes, for the bar. */
const DOWNLOAD = 0.7;

export interface PullOptions {
  readonly verify: Verify;
  /** For the next pull of the same address, which then only asks whether it has changed. */
  readonly keepDownload: boolean;
}

/**
 * An image of the archive, or of the disk image, at `address`. It is on the disk and verified before anything looks into
 * it, so that what nobody vouches for is never unpacked.
 * @throws BerthError; nothing but a part of the download is left then
 */
export async function pullTar(
  store: ImageStore,
  address: string,
  image: NewImage,
  { verify, keepDownload }: PullOptions,
  control: Control,
  kind: "tar" | "raw" = "tar",
): Promise<void> {
  const { signal, log } = control;
  const url = requireUrl(address);
  const make = { ...image, signal, ...(kind === "raw" ? { driver: rawDriver } : {}) };
  await store.make(make, async (workspace, driver, beside) => {
    const expected = await expectedChecksum(store, url, verify, workspace, signal).catch(async (error: unknown) => {
      await requireThere(url, signal);
      throw error;
    });
    log(`downloading ${showUrl(url)}`);
    const onProgress = (fraction: number): void => control.progress(fraction * DOWNLOAD);
    const archive = await download(url, { cache: store.paths.cache, workspace, signal, log, onProgress });
    let keep = false;
    try {
      if (expected !== null && archive.sha256 !== expected) throw changed(url, archive.sha256, expected);
      log(verify === "no" ? "not verified" : `verified, by ${verify}`);
      const progress = (fraction: number): void => control.progress(DOWNLOAD + fraction * (1 - DOWNLOAD));
      const unpacking = { ...control, progress };
      const made = await withFile(archive.path, (fd) =>
        kind === "raw" ? writeDisk(workspace, fd, unpacking) : unpackInto(workspace, driver, fd, unpacking, beside),
      );
      keep = keepDownload;
      return made;
    } finally {
      await archive.close(keep);
    }
  });
  log(`${image.name} is complete`);
}

/** Of what the server has not got it has no checksums either, which would not be what is wrong. @throws BerthError that says so */
async function requireThere(url: URL, signal: AbortSignal): Promise<void> {
  try {
    (await open(url, { signal, method: "HEAD" })).destroy();
  } catch (error) {
    // There are servers that answer this question with another refusal.
    const refusal = error instanceof BerthError ? error.cause : undefined;
    if (refusal instanceof HttpRefusal && GONE.has(refusal.status)) throw error;
  }
}

const GONE = new Set([404, 410]);

export function changed(url: URL, sha256: string, expected: string): BerthError {
  return new BerthError(`${showUrl(url)} is refused: its SHA-256 is ${sha256}, not ${expected}`, {
    hint: "it was changed on its way, or its list of checksums is of another one; try again later",
  });
}

async function withFile<T>(path: string, use: (fd: number) => Promise<T>): Promise<T> {
  const fd = openSync(path, "r");
  try {
    return await use(fd);
  } finally {
    closeQuietly(fd);
  }
}

/** Before the download, which may be long: who can't verify it needs none. */
async function expectedChecksum(
  store: ImageStore,
  url: URL,
  verify: Verify,
  workspace: string,
  signal: AbortSignal,
): Promise<string | null> {
  switch (verify) {
    case "no":
      return null;
    case "checksum":
      return publishedChecksum(url, signal);
    case "signature":
      return signedChecksum(url, store.paths, workspace, signal);
  }
}
