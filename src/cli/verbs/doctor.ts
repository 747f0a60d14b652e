import type { Command } from "commander";
import { diagnose, type Finding, isUnfit } from "../../host/doctor.ts";
import { findPinnedRuntime } from "../../host/pinned-runtime.ts";
import { readHostFacts } from "../../host/read-facts.ts";
import { readSurvey } from "../../host/survey.ts";
import { tryHost } from "../../machine/trial.ts";
import { print, printJson } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("doctor")
    .summary("check whether this host can run machines")
    .description(
      "Checks whether this host can run machines, and what they can do here: one line a finding, with the fix where " +
        "there is one. Exit status 1 if machines with default settings can't run.",
    )
    .option("--json", "print as JSON, with the facts the findings come from")
    .action(run(doctor));
}

/** Exit status 1: machines with default settings cannot run here. */
async function doctor(context: Context, options: { readonly json?: boolean }): Promise<number> {
  const host = readHostFacts();
  const survey = readSurvey(host, context.paths, findPinnedRuntime(import.meta.dirname));
  const findings = diagnose(host, survey, await tryHost(context.paths));
  if (options.json === true) printJson({ host, survey, findings });
  else print(formatFindings(findings, styleOf(context)));
  return isUnfit(findings) ? 1 : 0;
}

interface Style {
  readonly marks: "symbols" | "words";
  readonly colour: boolean;
  /** Columns of the terminal; details are not wrapped where there is none. */
  readonly width: number | null;
}

function styleOf({ fancy, env }: Context): Style {
  const locale = env["LC_ALL"] || env["LC_CTYPE"] || env["LANG"] || "";
  return {
    marks: fancy && /utf-?8/i.test(locale) ? "symbols" : "words",
    colour: fancy,
    width: fancy && process.stdout.isTTY ? process.stdout.columns : null,
  };
}

const MARKS: Readonly<
  Record<Finding["state"], { readonly symbol: string; readonly word: string; readonly colour: number }>
> = {
  ok: { symbol: "✓", word: "ok", colour: 32 },
  warning: { symbol: "!", word: "warning", colour: 33 },
  failed: { symbol: "✗", word: "FAILED", colour: 31 },
  unknown: { symbol: "?", word: "unknown", colour: 36 },
};
const WORD_WIDTH = 7;

/** One line a finding, its fix below it, and a verdict at the end. */
export function formatFindings(findings: readonly Finding[], style: Style): string {
  const checkWidth = Math.max(...findings.map(({ check }) => check.length));
  const markWidth = style.marks === "symbols" ? 1 : WORD_WIDTH;
  const indent = " ".repeat(markWidth + checkWidth + 4);
  const lines = findings.flatMap(({ state, check, detail, fix }) => {
    const mark = style.marks === "symbols" ? MARKS[state].symbol : MARKS[state].word;
    const head = `${paint(mark.padEnd(markWidth), MARKS[state].colour, style)}  ${printable(check).padEnd(checkWidth)}  `;
    const [first = "", ...rest] = wrap(printable(detail), (style.width ?? Infinity) - indent.length);
    // A fix is to be copied, so it is never wrapped.
    const fixes = fix === undefined || state === "ok" ? [] : [`${indent}fix: ${printable(fix)}`];
    return [head + first, ...rest.map((line) => indent + line), ...fixes];
  });
  return `${[...lines, "", verdict(findings)].join("\n")}\n`;
}

function verdict(findings: readonly Finding[]): string {
  const counts = (["failed", "warning", "unknown"] as const).flatMap((state) => {
    const count = findings.filter((finding) => finding.state === state).length;
    if (count === 0) return [];
    return [`${count} ${state}${state === "warning" && count > 1 ? "s" : ""}`];
  });
  const summary = counts.length === 0 ? "" : ` (${counts.join(", ")})`;
  if (isUnfit(findings)) return `Machines cannot run here until what failed is fixed${summary}.`;
  return `Machines can run here${summary}.`;
}

function paint(text: string, colour: number, { colour: wanted }: Style): string {
  return wanted ? `\x1b[${colour}m${text}\x1b[0m` : text;
}

function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > Math.max(width, 30)) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** Mount points and profile names may hold anything: nothing of it reaches the terminal as a control character. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
}
