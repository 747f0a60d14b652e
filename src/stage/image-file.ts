import { writeSync } from "node:fs";
import { memfdCreate, truncateFd } from "../sys/files.ts";
import type { Image } from "./assembler.ts";

/** For an image that is written later. */
export function emptyImage(): number {
  return memfdCreate("berth-image");
}

/** The image in a memfd, as the stage maps it: its parts are written, the hole between them takes no memory. */
export function writeImage(image: Image, fd = emptyImage()): number {
  truncateFd(fd, image.size);
  for (const { offset, bytes } of image.parts)
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, offset + at);
  return fd;
}
