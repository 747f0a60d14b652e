import { basename } from "node:path/posix";
import { type Source, showSource } from "../spec/source.ts";
import { describe } from "./describe.ts";
import type { LaunchPlan } from "./step.ts";
import { undoOf } from "./undo.ts";

/** One aligned line a step: number, phase, what is done, and where it comes from if not from a default. */
export function planText(plan: LaunchPlan): string {
  const rows = plan.steps.map((step, index) => ({
    head: `#${String(index).padStart(3, "0")} ${step.phase.padEnd(7)}`,
    what: describe(step),
    source: shortSource(step.source),
  }));
  const SOURCE_COLUMN = 76;
  const line = ({ head, what, source }: (typeof rows)[number]): string =>
    source === "" ? `${head} ${what}` : `${head} ${what.padEnd(SOURCE_COLUMN)}  ${source}`;
  return rows.map((row) => `${line(row)}\n`).join("");
}

/** As `berth plan --json` prints it; `source` is file:line, the option, or `default`. */
export function planJson(plan: LaunchPlan): unknown {
  return {
    machine: plan.machine,
    steps: plan.steps.map((step, index) => ({
      index,
      phase: step.phase,
      kind: step.kind,
      describe: describe(step),
      source: showSource(step.source),
      args: step.args,
      undo: undoOf(step),
    })),
  };
}

function shortSource(source: Source): string {
  if (source.from === "default") return "";
  return source.from === "file" ? `${basename(source.file)}:${source.line}` : source.option;
}
