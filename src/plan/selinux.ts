import type { PlanInput } from "./input.ts";
import { init } from "./make-step.ts";
import type { Step } from "./step.ts";

/**
 * While the host's /proc is still in sight, which nobody inside can have changed. It stays with the process until it
 * executes something.
 */
export function labelProcess({ spec }: PlanInput): Step[] {
  const { value: context, source } = spec.selinuxContext;
  return context === undefined ? [] : [init("label-process", { context }, source)];
}

/** Of a tmpfs or devpts. The others have contexts of their own, by the host's policy. */
export function withContext({ spec }: PlanInput, options: readonly string[]): string[] {
  const { value: context } = spec.selinuxApifsContext;
  return context === undefined ? [...options] : [...options, `context=${context}`];
}
