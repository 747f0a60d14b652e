import { UsageError } from "../errors.ts";
import { printable } from "../spec/quote.ts";

/** Of --timeout, where none is given: as long as systemd waits for a unit. */
export const TIMEOUT_S = 90;

/** The value of --timeout in ms. More than Node's setTimeout can wait for is no limit either: 24 days. */
export function timeoutMs(seconds: string): number {
  const value = Number(seconds);
  if (/^[0-9]+(\.[0-9]+)?$/.test(seconds) && value > 0) return Math.min(value * 1000, 2 ** 31 - 1);
  throw new UsageError(`--timeout=${printable(seconds)} is no number of seconds`, `the default is ${TIMEOUT_S}`);
}
