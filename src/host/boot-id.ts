import { readFileSync } from "node:fs";

/** Of the host's boot: what belongs to another one is history. */
export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
