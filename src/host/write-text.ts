import { writeFileSync } from "node:fs";

/**
 * Writes a file for root alone, anew or over what was there. Told the encoding, node makes one call of it; left to know it, a Buffer
 * first and three calls then, which takes three times as long.
 */
export function writeText(path: string, text: string): void {
  writeFileSync(path, text, { mode: 0o600, encoding: "utf8" });
}
