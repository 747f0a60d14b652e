import { basename } from "node:path/posix";
import { type Source, showSource } from "../spec/source.ts";
import { describe } from "./describe.ts";
import type { PlanChange } from "./diff.ts";
import type { LaunchPlan, Step } from "./step.ts";
import { undoOf } from "./undo.ts";

/** One aligned line a step: number, phase, what is done, and where it comes from if not from a default. */
export function planText(plan: LaunchPlan): string {
  return plan.steps.map((step, index) => `${stepLine(step, index)}\n`).join("");
}

const SOURCE_COLUMN = 76;

function stepLine(step: Step, index: number): string {
  const source = shortSource(step.source);
  const head = `#${String(index).padStart(3, "0")} ${step.phase.padEnd(7)}`;
  return source === "" ? `${head} ${describe(step)}` : `${head} ${describe(step).padEnd(SOURCE_COLUMN)}  ${source}`;
}

/** The same lines after a minus or plus; what is different in a step that is described as before is below it. */
export function diffText(changes: readonly PlanChange[]): string {
  return changes
    .flatMap(({ change, index, step, detail }) => [
      `${change} ${stepLine(step, index)}`,
      ...detail.map((each) => `${" ".repeat(15)}${each}`),
    ])
    .map((line) => `${line}\n`)
    .join("");
}

/** As `berth plan --diff --json` prints each. */
export function changeJson({ change, index, step, detail }: PlanChange): unknown {
  return { change, ...stepJson(step, index), detail };
}

/** As `berth plan --json` prints it; `source` is file:line, the option, or `default`. */
export function planJson(plan: LaunchPlan): unknown {
  return {
    machine: plan.machine,
    steps: plan.steps.map(stepJson),
  };
}

function stepJson(step: Step, index: number): object {
  return {
    index,
    phase: step.phase,
    kind: step.kind,
    describe: describe(step),
    source: showSource(step.source),
    args: step.args,
    undo: undoOf(step),
  };
}

function shortSource(source: Source): string {
  if (source.from === "default") return "";
  return source.from === "file" ? `${basename(source.file)}:${source.line}` : source.option;
}
