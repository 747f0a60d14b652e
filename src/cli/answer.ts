import { BerthError } from "../errors.ts";
import type { WireError } from "../manager/protocol.ts";

/** berthd ended, or was killed, before it had answered. */
export class DaemonGone extends BerthError {
  constructor(cause?: Error) {
    super("berthd has gone", { hint: "berth daemon status", cause });
  }
}

/** What berthd answered instead of a result. */
export function errorOf({ message, hint, kind, exitStatus }: WireError): BerthError {
  return new BerthError(message, { hint: hint ?? undefined, kind: kind ?? undefined, exitStatus });
}
