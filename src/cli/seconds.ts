import { UsageError } from "../errors.ts";
import { printable } from "../spec/quote.ts";

/** More than Node's setTimeout can wait for is no limit either, ms: 24 days. */
const FOREVER = 2 ** 31 - 1;

/** The value of --timeout, or another such option, in ms. */
export function timeoutMs(seconds: string, option = "--timeout"): number {
  const value = seconds === "infinity" ? Number.POSITIVE_INFINITY : Number(seconds);
  const valid = seconds === "infinity" || /^[0-9]+(\.[0-9]+)?$/.test(seconds);
  if (valid && value > 0) return Math.max(1, Math.round(Math.min(value * 1000, FOREVER)));
  throw new UsageError(`${option}=${printable(seconds)} is no number of seconds`, "a number, or infinity");
}

/** Of an option that may be absent; null: as the machine's settings say. */
export function timeoutOrNull(seconds: string | undefined): number | null {
  return seconds === undefined ? null : timeoutMs(seconds);
}
