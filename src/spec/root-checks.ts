import type { MachineSpec } from "./machine-spec.ts";
import { error, type Problem } from "./problem.ts";
import { quote } from "./quote.ts";

export function volatileOrReadOnly({ volatile: { value, source }, readOnly }: MachineSpec): readonly Problem[] {
  if (value === "no" || !readOnly.value) return [];
  const what = `Volatile=${value} and ReadOnly=yes exclude each other`;
  return [error(source, what, "a volatile machine does not change its tree; Volatile=state is the most read-only one")];
}

/** Only numbers need no entry in a passwd(5). */
export function userWithoutPasswd({ user: { value, source }, volatile, bindUsers }: MachineSpec): readonly Problem[] {
  if (volatile.value !== "yes" || /^(root|[0-9]+)$/.test(value)) return [];
  if (bindUsers.some((bound) => bound.value === value)) return [];
  const what = `with Volatile=yes there is no /etc/passwd that says who ${quote(value)} is`;
  return [error(source, what, "Volatile=overlay keeps the tree's, and a number needs none")];
}
