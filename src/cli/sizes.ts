import { UsageError } from "../errors.ts";
import { quote } from "../spec/quote.ts";

const UNITS = ["K", "M", "G", "T", "P", "E"];
const BASE = 1024;

/** As systemd's tools show bytes: `266.1M`; `-` for null. */
export function formatBytes(bytes: number | null): string {
  if (bytes === null) return "-";
  if (bytes < BASE) return `${bytes}B`;
  const power = Math.min(Math.floor(Math.log2(bytes) / 10), UNITS.length);
  return `${(bytes / BASE ** power).toFixed(1)}${UNITS[power - 1] ?? ""}`;
}

/** `512M`, `1.5G`, `4096`; null for `-`, which is no limit. @throws UsageError */
export function parseBytes(text: string): number | null {
  if (text === "-") return null;
  const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?)\s*([KMGTPE]?)(?:i?B)?$/i.exec(text) ?? [];
  const power = UNITS.indexOf(unit.toUpperCase()) + 1;
  const bytes = Math.floor(Number(number) * BASE ** power);
  if (number !== "" && bytes > 0 && Number.isSafeInteger(bytes)) return bytes;
  throw new UsageError(`${quote(text)} is no size`, "bytes, with K, M, G or T where wanted; - for no limit");
}
