import { UsageError } from "../errors.ts";
import { quote } from "../spec/quote.ts";
import type { Sourced } from "../spec/source.ts";

/** The kernel takes no more than a page. */
const CONTEXT_MAX = 4095;

/** A security context, USER:ROLE:TYPE[:LEVEL]. Whether the host's policy has it is for the kernel to say. */
export function contextOption(name: string, text: string): Sourced<string> {
  if (!/^[!-9;-~]+:[!-9;-~]+:[!-9;-~]+(:[!-~]+)?$/.test(text) || text.length > CONTEXT_MAX)
    throw new UsageError(
      `${name}=: ${quote(text)} is no security context`,
      "USER:ROLE:TYPE:LEVEL such as system_u:system_r:container_t:s0:c1,c2",
    );
  return { value: text, source: { from: "option", option: `${name}=${text}` } };
}
