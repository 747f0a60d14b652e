import { writeSync } from "node:fs";
import { memfdCreate, truncateFd } from "../sys/files.ts";
import type { CompiledPlan } from "./compile.ts";

/** The image in a memfd, as the stage maps it: its parts are written, the hole between them takes no memory. */
export function writeImage(compiled: CompiledPlan): number {
  const fd = memfdCreate("berth-image");
  truncateFd(fd, compiled.image.size);
  for (const { offset, bytes } of compiled.image.parts) writeSync(fd, bytes, 0, bytes.length, offset);
  return fd;
}
