import { readFileSync } from "node:fs";

let known: string | undefined;

/** Of the host's boot: what belongs to another one is history. */
export function bootId(): string {
  known ??= readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return known;
}
