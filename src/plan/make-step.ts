import { DEFAULT, type Source } from "../spec/source.ts";
import type { Phase, Step, StepKind, StepKinds } from "./step.ts";

/** A step; the one place where kind and arguments are tied together. */
export function step<K extends StepKind>(phase: Phase, kind: K, args: StepKinds[K], source: Source = DEFAULT): Step {
  // Step is the union of exactly these shapes, which TypeScript cannot see for a K it does not know yet.
  return { phase, kind, args, source } as unknown as Step;
}

export const host = stepsOf("host");
export const keeper = stepsOf("keeper");
export const apivfs = stepsOf("apivfs");
export const init = stepsOf("init");

function stepsOf(phase: Phase) {
  return <K extends StepKind>(kind: K, args: StepKinds[K], source?: Source): Step => step(phase, kind, args, source);
}
