import { openSync } from "node:fs";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { rawDriver } from "../image/drivers/raw.ts";
import type { ImageStore } from "../image/store.ts";
import { closeQuietly } from "../sys/files.ts";
import { publishedChecksum, signedChecksum } from "./checksums.ts";
import { download, requireUrl } from "./download.ts";
import { guardSpace } from "./free-space.ts";
import { unpackInto } from "./import.ts";
import { writeDisk } from "./import-raw.ts";
import type { Control, Verify } from "./transfer.ts";
import type { NewImage } from "./transfers.ts";
import { showUrl } from "./url.ts";

/** Of the whole what the download takes, for the bar. */
const DOWNLOAD = 0.7;

/**
 * An image of the archive, or of the disk image, at `address`. It is on the disk and verified before anything looks into it, so that what
 * nobody vouches for is never unpacked.
 * @throws BerthError; nothing is left then
 */
export async function pullTar(
  store: ImageStore,
  address: string,
  image: NewImage,
  verify: Verify,
  control: Control,
  kind: "tar" | "raw" = "tar",
): Promise<void> {
  const { signal, log } = control;
  const url = requireUrl(address);
  const make = { ...image, signal, ...(kind === "raw" ? { driver: rawDriver } : {}) };
  await store.make(make, async (workspace, driver) => {
    const expected = await expectedChecksum(store, url, verify, workspace, signal);
    log(`downloading ${showUrl(url)}`);
    const path = join(workspace, "download");
    const onProgress = (fraction: number): void => control.progress(fraction * DOWNLOAD);
    const checksum = await guardSpace(workspace, signal, (either) =>
      download(url, path, { signal: either, onProgress }),
    );
    if (expected !== null && checksum !== expected)
      throw new BerthError(`${showUrl(url)} is refused: its SHA-256 is ${checksum}, not ${expected}`, {
        hint: "it was changed on its way, or its list of checksums is of another one; try again later",
      });
    log(verify === "no" ? "not verified" : `verified, by ${verify}`);
    const fd = openSync(path, "r");
    try {
      const progress = (fraction: number): void => control.progress(DOWNLOAD + fraction * (1 - DOWNLOAD));
      const unpacking = { ...control, progress };
      if (kind === "raw") return await writeDisk(workspace, fd, unpacking);
      return await unpackInto(workspace, driver, fd, unpacking);
    } finally {
      closeQuietly(fd);
    }
  });
  log(`${image.name} is complete`);
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
