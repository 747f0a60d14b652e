import { expect, test } from "vitest";
import { compressionForFile, compressionNamed, compressionOf, imageNameOf } from "../../../src/transfer/compression.ts";

test.each([
  ["1f8b0800", "gzip"],
  ["fd377a585a00", "xz"],
  ["28b52ffd", "zstd"],
  ["502a4d18", "zstd"],
  ["425a6839", "bzip2"],
  ["2e2f", "none"],
  ["", "none"],
  ["1f", "none"],
])("data that begins with %s is %s", (digits, name) => {
  expect(compressionOf(Buffer.from(digits, "hex")).name).toBe(name);
});

test.each([
  ["web.tar", "none", "web"],
  ["/srv/web.tar.gz", "gzip", "web"],
  ["web.tgz", "gzip", "web"],
  ["web.tar.xz", "xz", "web"],
  ["web.tar.zst", "zstd", "web"],
  ["a.b.tar.bz2", "bzip2", "a.b"],
  ["web", "none", "web"],
  ["-", "none", "-"],
  ["tar.gz", "gzip", "tar.gz"],
  ["dir/", "none", "dir"],
])("%s is written by %s, and its image is %s", (file, name, image) => {
  expect(compressionForFile(file).name).toBe(name);
  expect(imageNameOf(file)).toBe(image);
});

test("formats go by machinectl's names", () => {
  expect(["uncompressed", "none", "gzip", "xz", "zstd", "bzip2"].map((name) => compressionNamed(name).name)).toEqual([
    "none",
    "none",
    "gzip",
    "xz",
    "zstd",
    "bzip2",
  ]);
  expect(() => compressionNamed("rar")).toThrow("unknown format rar");
});
