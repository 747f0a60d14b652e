import { UsageError } from "../errors.ts";
import { printable } from "../spec/quote.ts";

/** The value of --lines. */
export function lineCount(text: string): number {
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new UsageError(`--lines=${printable(text)} is no number of lines`);
}
