import { ranOutOfMemory } from "../exec/cgroup.ts";
import type { Outcome } from "../machine/exit-status.ts";
import type { End } from "./restart.ts";

/** How a boot ended, whose cgroup is still there. */
export function endOfBoot(outcome: Outcome, cgroup: string): End {
  return outcome.kind === "killed" ? { ...outcome, outOfMemory: ranOutOfMemory(cgroup) } : outcome;
}
