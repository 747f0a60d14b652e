/**
 * An image server as LXC's and Incus's are, with one image, `x`, whose checksums are right whatever its parts are.
 *
 *   const end = await pullImage(root, tar([file("metadata.yaml", "")]), tar([...OS]), "root.tar.xz");   // berth pull here:x web
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { expect } from "vitest";
import type { BerthRoot, End } from "./berth.ts";
import { type Site, site } from "./site.ts";

export type Format = "root.tar.xz" | "squashfs";

async function serving(metadata: Buffer, rootfs: Buffer, format: Format): Promise<Site> {
  const sum = (...parts: readonly Buffer[]): string => createHash("sha256").update(Buffer.concat(parts)).digest("hex");
  const both = sum(metadata, rootfs);
  const about = { ftype: "incus.tar.xz", path: "meta", sha256: sum(metadata), size: metadata.length };
  const items = {
    meta: { ...about, combined_rootxz_sha256: both, combined_squashfs_sha256: both },
    root: { ftype: format, path: "root", sha256: sum(rootfs), size: rootfs.length },
  };
  const arch = process.arch === "arm64" ? "arm64" : "amd64";
  const products = { x: { aliases: "x", arch, versions: { "20260101": { items } } } };
  return site({
    "/streams/v1/index.json": JSON.stringify({ index: { a: { datatype: "image-downloads", path: "l.json" } } }),
    "/l.json": JSON.stringify({ products }),
    "/meta": metadata,
    "/root": rootfs,
  });
}

/** Has `berth pull` make the image `web` of these parts, by a remote `here`. */
export async function pullImage(root: BerthRoot, metadata: Buffer, rootfs: Buffer, format: Format): Promise<End> {
  await using server = await serving(metadata, rootfs, format);
  root.env["BERTH_CACHE"] = join(root.path, "cache");
  expect(await root.berth("remote", "add", "here", server.url)).toMatchObject({ status: 0 });
  const end = await root.berth("pull", "here:x", "web");
  return end;
}
