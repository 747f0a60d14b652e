import { quote, visible } from "../spec/quote.ts";
import { describe } from "./describe.ts";
import type { LaunchPlan, Step } from "./step.ts";

/** A step that one of two plans has and the other has not. */
export interface PlanChange {
  readonly change: "+" | "-";
  /** In the plan that has it. */
  readonly index: number;
  readonly step: Step;
  /** Of a step that is described as before: what is different in it, `environment: +A=1`. */
  readonly detail: readonly string[];
}

/**
 * What is different in the later plan, in its order, what went before what came. Where a step comes from is no part of it, nor are
 * numbers of sync points and names that are made up anew for each start.
 */
export function diffPlans(before: LaunchPlan, after: LaunchPlan): readonly PlanChange[] {
  const [old, now] = [identities(before), identities(after)];
  const common = commonLengths(old, now);
  const changes: PlanChange[] = [];
  const note = (change: "+" | "-", index: number): void => {
    const step = (change === "-" ? before : after).steps[index];
    if (step !== undefined) changes.push({ change, index, step, detail: [] });
  };
  for (let [i, j] = [0, 0]; i < old.length || j < now.length; ) {
    if (i < old.length && j < now.length && old[i] === now[j]) [i, j] = [i + 1, j + 1];
    else if (i < old.length && (j === now.length || at(common, i + 1, j) >= at(common, i, j + 1))) note("-", i++);
    else note("+", j++);
  }
  return withDetails(changes);
}

/** Of what is left of both from there on: how much is common, in order. */
function commonLengths(old: readonly string[], now: readonly string[]): readonly (readonly number[])[] {
  const lengths = Array.from({ length: old.length + 1 }, () => new Array<number>(now.length + 1).fill(0));
  for (let i = old.length - 1; i >= 0; i--)
    for (let j = now.length - 1; j >= 0; j--)
      (lengths[i] as number[])[j] =
        old[i] === now[j] ? at(lengths, i + 1, j + 1) + 1 : Math.max(at(lengths, i + 1, j), at(lengths, i, j + 1));
  return lengths;
}

function at(table: readonly (readonly number[])[], i: number, j: number): number {
  return table[i]?.[j] ?? 0;
}

/** Of a seccomp policy: by what its filter is cached. */
const DERIVED = new Set(["sync", "key"]);
/** Items of a list that are told one by one. */
const ITEMS_MAX = 8;

/** Of each step: equal texts are the same step. */
function identities({ steps }: LaunchPlan): readonly string[] {
  const names = new Map<string, string>();
  return steps.map(({ phase, kind, args }) => {
    const text = (name: (text: string) => string): string =>
      JSON.stringify([phase, kind, args], (key, value: unknown) =>
        DERIVED.has(key) ? undefined : typeof value === "string" ? name(withoutRandom(value)) : value,
      );
    // `bind:2` is the third in the order of the settings: what it is says who makes it.
    const fd = "fd" in args && typeof args.fd === "string" ? args.fd : undefined;
    if (fd !== undefined && NUMBERED.test(fd) && !names.has(fd))
      names.set(fd, `${fd.replace(/\d+$/, "")}${text((value) => (value === fd ? "" : value))}`);
    return text((value) => names.get(value) ?? value);
  });
}

const NUMBERED = /^[a-z-]+:\d+$/;

/** `.berth-passwd-0123456789abcdef` (see randomId of facts.ts). */
function withoutRandom(text: string): string {
  return text.replace(/(\.berth-[^/]*-)[0-9a-f]{16}(?![0-9a-f])/g, "$1*");
}

function withDetails(changes: readonly PlanChange[]): readonly PlanChange[] {
  return changes.map((change) => {
    if (change.change === "-") return change;
    const alike = changes.filter(({ step }) => step.phase === change.step.phase && step.kind === change.step.kind);
    const gone = alike.filter((each) => each.change === "-");
    const same = gone.find(({ step }) => describe(step) === describe(change.step));
    if (same !== undefined) return { ...change, detail: differences(same.step, change.step) };
    // What a description says, both do; lists are beyond it.
    const [only] = gone;
    if (only === undefined || alike.length !== 2) return change;
    return { ...change, detail: differences(only.step, change.step, (value) => typeof value === "object") };
  });
}

function differences(before: Step, after: Step, wanted: (value: unknown) => boolean = () => true): readonly string[] {
  const [old, now] = [before, after].map(({ args }) =>
    Object.fromEntries(Object.entries<unknown>(args).filter(([, value]) => wanted(value))),
  );
  return objectDifferences("", old ?? {}, now ?? {});
}

type Fields = Readonly<Record<string, unknown>>;

function objectDifferences(prefix: string, before: Fields, after: Fields): readonly string[] {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((key) => !DERIVED.has(key));
  return keys.flatMap((key) => difference(prefix + key, before[key], after[key]));
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function difference(key: string, before: unknown, after: unknown): readonly string[] {
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  if (Array.isArray(before) && Array.isArray(after)) {
    const [old, now] = [before.map(shown), after.map(shown)];
    const parts = [
      ...old.filter((each) => !now.includes(each)).map((each) => `-${each}`),
      ...now.filter((each) => !old.includes(each)).map((each) => `+${each}`),
    ];
    const left = parts.length - ITEMS_MAX;
    const told = [...parts.slice(0, ITEMS_MAX), ...(left > 0 ? [`and ${left} more`] : [])];
    return [`${key}: ${parts.length === 0 ? "in another order" : told.join(" ")}`];
  }
  if (isFields(before) && isFields(after)) return objectDifferences(`${key}.`, before, after);
  return [`${key}: ${shown(before)} -> ${shown(after)}`];
}

function shown(value: unknown): string {
  return typeof value === "string" ? quote(value) : visible(JSON.stringify(value) ?? "none");
}
