import { visible } from "./quote.ts";

// ECMA-48: CSI with its parameters and final; OSC, DCS, SOS, PM and APC up to their terminator; two-character escapes.
const SEQUENCE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\^-~])/g;

/**
 * A line of a console as text for another terminal or a table: without the sequences that colour it and move the cursor, of
 * what was written over itself (a progress in percent) the last state, and with nothing in it that acts.
 */
export function consoleText(line: string): string {
  const plain = line.replace(SEQUENCE, "").replace(/\r+$/, "");
  const last = plain.slice(plain.lastIndexOf("\r") + 1);
  return visible(last.replaceAll("\t", "    "));
}
