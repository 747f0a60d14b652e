import type { Source } from "./source.ts";

/** One thing wrong with the settings. All of them are collected and shown together. */
export interface Problem {
  readonly severity: "error" | "warning";
  readonly source: Source;
  /** What is wrong, naming the offending text: `unknown capability "CAP_FOO"`. */
  readonly what: string;
  /** What was expected instead: `a capability name such as CAP_NET_ADMIN, or all`. */
  readonly expected?: string;
  /** How to fix it, where that is not obvious: `did you mean CAP_FOWNER?`. */
  readonly hint?: string;
}

export function error(source: Source, what: string, hint?: string, expected?: string): Problem {
  return {
    severity: "error",
    source,
    what,
    ...(expected === undefined ? {} : { expected }),
    ...(hint === undefined ? {} : { hint }),
  };
}

export function warning(source: Source, what: string, hint?: string): Problem {
  return { ...error(source, what, hint), severity: "warning" };
}

/** `file:line:column: what, expected ..., hint ...`: one line a problem, as compilers print them. */
export function showProblem(problem: Problem): string {
  const { source } = problem;
  const place =
    source.from === "file"
      ? `${source.file}:${source.line}:${source.column}: `
      : source.from === "option"
        ? `${source.option}: `
        : "";
  const severity = problem.severity === "warning" ? "warning: " : "";
  const expected = problem.expected === undefined ? "" : `, expected ${problem.expected}`;
  const hint = problem.hint === undefined ? "" : ` (${problem.hint})`;
  return `${place}${severity}${problem.what}${expected}${hint}`;
}
