import type { PivotRoot } from "../spec/machine-spec.ts";
import { quote } from "../spec/quote.ts";
import type { Parse } from "./setting.ts";
import { words } from "./values.ts";
import { clean, machineTarget } from "./values-files.ts";
import { PATHS } from "./words.ts";

/** PivotRoot=: `NEW[:OLD]`, both of the tree and absolute. */
export const pivotRoot: Parse<PivotRoot> = (value, report) => {
  const list = words(value, PATHS, report)?.words;
  if (list === undefined) return undefined;
  const [first, second] = list;
  const expected = "PATH or PATH:PATH, both absolute";
  if (first === undefined || list.length > 2) {
    report({ what: `${quote(value)} is no pair of roots`, expected });
    return undefined;
  }
  const old = second === undefined || second.text === "" ? undefined : second;
  // Both are to be read.
  const fits = [first, ...(old === undefined ? [] : [old])].map((word) => machineTarget(word, report));
  if (fits.includes(false)) return undefined;
  return { newRoot: clean(first.text), oldRoot: old === undefined ? null : clean(old.text) };
};
