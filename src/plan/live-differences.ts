import { type Source, showSource } from "../spec/source.ts";
import { describe } from "./describe.ts";
import type { PlanChange } from "./diff.ts";
import type { LaunchPlan, Step } from "./step.ts";

/** A directory or file of the host that settings bind into a machine, as far as that can be done while it runs. */
export interface SettingsBind {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  readonly owners: "noidmap" | "idmap" | "rootidmap" | "owneridmap";
  /** Nothing of the tree, nothing temporary, with all that is mounted below it. */
  readonly plain: boolean;
  readonly from: Source;
}

/** What of a changed plan takes effect only when the machine starts anew. */
export interface RestartNeed {
  /** What is to be done then, or no more. */
  readonly what: string;
  readonly source: string;
}

export interface LiveDifferences {
  /** To be bound now. */
  readonly binds: readonly SettingsBind[];
  readonly restart: readonly RestartNeed[];
}

/**
 * Takes the changes of a plan apart: binds that are new, where nothing else is in the way, can be made in a running machine; all else,
 * and what the start has mounted and is to go (the kernel has it locked), can't.
 */
export function takeApart(
  changes: readonly PlanChange[],
  before: LaunchPlan,
  after: LaunchPlan,
  wanted: readonly SettingsBind[],
): LiveDifferences {
  const there = before.steps.flatMap((step) => (step.kind === "attach" ? [step.args.target] : []));
  const binds: SettingsBind[] = [];
  const theirs = new Set<string>();
  for (const { change, step } of changes) {
    if (change !== "+" || step.kind !== "attach" || !step.args.fd.startsWith("bind:")) continue;
    const { target, fd } = step.args;
    const bind = wanted.find((each) => each.target === target);
    if (bind === undefined || !bind.plain || bind.owners === "owneridmap" || isInTheWay(target, there)) continue;
    binds.push(bind);
    theirs.add(fd);
  }
  const rest = changes.filter(({ change, step }) => change === "-" || !theirs.has(fdOf(step)));
  return {
    binds,
    restart: needsOf(
      rest.filter(({ step }) => !isMachinery(step)),
      after,
    ),
  };
}

/** What is mounted there or below would be hidden. */
function isInTheWay(target: string, there: readonly string[]): boolean {
  return there.some((other) => other === target || other.startsWith(`${target}/`));
}

function fdOf({ args }: Step): string {
  return "fd" in args && typeof args.fd === "string" ? args.fd : "";
}

/** How the two sides of a start wait for each other: it changes with other steps, and is no difference of its own. */
function isMachinery({ kind }: Step): boolean {
  return kind === "await" || kind === "signal";
}

/** One for each setting: its first step says it best. */
function needsOf(changes: readonly PlanChange[], after: LaunchPlan): readonly RestartNeed[] {
  const needs = new Map<string, RestartNeed>();
  for (const { change, step, detail } of changes) {
    // A step that is replaced is told by what replaces it.
    if (change === "-" && after.steps.some((other) => other.kind === step.kind && isReplaced(other, step, changes)))
      continue;
    const source = showSource(step.source);
    const sentence = `${change === "-" ? "no more: " : ""}${describe(step)}${detail.length === 0 ? "" : ` (${detail.join("; ")})`}`;
    const key = step.source.from === "default" || change === "-" ? sentence : source;
    if (!needs.has(key)) needs.set(key, { what: sentence, source });
  }
  return [...needs.values()];
}

function isReplaced(other: Step, step: Step, changes: readonly PlanChange[]): boolean {
  const plus = changes.filter((each) => each.change === "+" && each.step.kind === step.kind);
  const minus = changes.filter((each) => each.change === "-" && each.step.kind === step.kind);
  return plus.length === 1 && minus.length === 1 && plus[0]?.step === other;
}
