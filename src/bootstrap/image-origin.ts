import type { Paths } from "../host/paths.ts";
import { readOrigin } from "../image/origin.ts";
import { type Lock, parseLock } from "./lock.ts";

/** What an image was bootstrapped from. Null: it was not, or nothing is known of it. */
export function imageOrigin(paths: Paths, name: string): Lock | null {
  const lock = parseLock(readOrigin(paths, name) ?? "");
  return typeof lock === "string" ? null : lock;
}
