import { BerthError } from "../errors.ts";
import type { Reply } from "../manager/protocol.ts";
import { visible } from "../spec/quote.ts";
import { DaemonGone, errorOf } from "./answer.ts";
import { complain, INTERRUPTED, say } from "./output.ts";
import { FAILURE } from "./verb.ts";

/**
 * Says what src/plain-client, which has no words of its own, was answered: `exec` or `start`, `start-interrupted` by ^C or its like, and
 * lines of berthd's, without those of success; an empty one where it has gone. Returns the exit status.
 */
export function answered([verb, ...lines]: readonly string[]): number {
  const replies = lines.map((line) => (line === "" ? null : (JSON.parse(line) as Reply)));
  let status = 0;
  for (const reply of replies) {
    const failure = failureIn(reply);
    if (failure === undefined) continue;
    complain(failure.message, failure.hint);
    status = Math.max(status, verb === "exec" && failure.exitStatus === 1 ? FAILURE : failure.exitStatus);
  }
  for (const reply of replies) if (reply !== null && "event" in reply) tell(reply.event);
  return verb === "start-interrupted" ? INTERRUPTED : status;
}

function failureIn(reply: Reply | null): BerthError | undefined {
  if (reply === null) return new DaemonGone();
  if ("error" in reply) return errorOf(reply.error);
  return "event" in reply ? undefined : new BerthError(`berthd's answer is none: ${JSON.stringify(reply)}`);
}

/** Of a start, for the user: what is weaker than the default. */
function tell(event: unknown): void {
  say(`berth: ${visible((event as { readonly said: string }).said)}\n`);
}
