import { UsageError } from "../errors.ts";
import { printable } from "../spec/quote.ts";

/** The value of --boot: 0 or less; undefined: it is not given. @throws UsageError */
export function bootNumber(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^-?[0-9]{1,9}$/.test(text) && Number(text) <= 0) return Number(text) + 0;
  throw new UsageError(`--boot=${printable(text)} is no boot`, "0 is the one that runs, -1 the last one that ended");
}
