import { type PlanInput, rootId, terminalGroup } from "./input.ts";
import { init, keeper } from "./make-step.ts";
import type { Step } from "./step.ts";

/** Every machine has a /dev/console of its own; the keeper records what is written there. */
export function attachConsole(input: PlanInput): Step[] {
  const owner = rootId(input);
  const args = { owner, group: owner + terminalGroup(input), size: input.request.size ?? null };
  return [keeper("console", args, input.spec.console.source)];
}

export function connectStdio({ spec, request }: PlanInput): Step[] {
  return [init("stdio", { from: request.stdio }, spec.console.source)];
}
