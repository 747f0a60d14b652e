/**
 * Texts for the settings parser that nobody would write, and what has to hold for any text.
 *
 *   checkSettings(randomText(generator(7)));
 *   checkSettings(mutated(generator(7), seedTexts()));    // of test/fuzz/settings, with some bytes changed
 */
import { readdirSync, readFileSync } from "node:fs";
import { expect } from "vitest";
import { Assigned } from "../../src/config/assigned.ts";
import { SETTINGS } from "../../src/config/settings.ts";
import { type Assignment, parseUnitFile, sourceAt } from "../../src/config/unit-file.ts";
import { buildSpec } from "../../src/spec/build-spec.ts";
import { showProblem } from "../../src/spec/problem.ts";
import { weaknesses } from "../../src/spec/weaknesses.ts";

type Below = (limit: number) => number;

/** What matters to the syntaxes, so that random text gets somewhere. */
export const PIECES = [
  ..."[]=\\\n\r\0\t #;:'\"~@%/.,-+_0129aZ\uFEFF\uFFFD\u202e\u{1F600}\uD800",
  ..."[Exec]|[Files]|[Network]|[X-A]|\n|=|\\\n|yes|no|all|pick|65536:|/proc|CAP_|@clock|SIGRTMIN+|A=1".split("|"),
  ...SETTINGS.map((setting) => `\n[${setting.section}]\n${setting.key}=`),
];

export function randomText(below: Below): string {
  return Array.from({ length: below(400) }, () => PIECES[below(PIECES.length)]).join("");
}

export const SEED_FILES = new URL("../fuzz/settings/", import.meta.url);

export function seedTexts(): readonly Buffer[] {
  const names = readdirSync(SEED_FILES).filter((name) => name.endsWith(".nspawn"));
  return names.sort().map((name) => readFileSync(new URL(name, SEED_FILES)));
}

/** One seed, or the halves of two, with up to eight bytes changed, taken out or put in, and pieces put in. */
export function mutated(below: Below, seeds: readonly Buffer[]): string {
  const some = (): Buffer => seeds[below(seeds.length)] ?? Buffer.alloc(0);
  let bytes = some();
  if (below(3) === 0) {
    const other = some();
    bytes = Buffer.concat([bytes.subarray(0, below(bytes.length + 1)), other.subarray(below(other.length + 1))]);
  }
  for (let change = below(8); change >= 0; change--) {
    const at = below(bytes.length + 1);
    const insert = [Buffer.from([below(256)]), Buffer.from(PIECES[below(PIECES.length)] ?? ""), Buffer.alloc(0)][
      below(3)
    ];
    bytes = Buffer.concat([bytes.subarray(0, at), insert ?? Buffer.alloc(0), bytes.subarray(at + below(3))]);
  }
  return new TextDecoder().decode(bytes);
}

export function build(assignments: readonly Assignment[], name = "m") {
  return buildSpec({ name, root: { value: "/m", source: { from: "default" } }, assignments, options: [], command: [] });
}

/** Whatever the text: an answer, in which every problem has a place in it and a line that does nothing to a terminal. */
export function checkSettings(text: string): void {
  const lines = text.split(/[\n\r\0]/).length;
  const { assignments, problems } = parseUnitFile(text, "f");
  const built = build(assignments);
  for (const problem of [...problems, ...built.problems]) {
    expect(showProblem(problem)).toMatch(/^[^\p{Cc}]+$/u);
    if (problem.source.from !== "file") continue;
    expect(problem.source.line).toBeGreaterThan(0);
    expect(problem.source.line).toBeLessThanOrEqual(lines);
    expect(problem.source.column).toBeGreaterThan(0);
  }
  for (const assignment of assignments) {
    expect(assignment.value).toBe(assignment.value.replace(/^[ \t\n\r]+|[ \t\n\r]+$/g, ""));
    for (const offset of [0, assignment.value.length])
      expect(sourceAt(assignment, offset)).toMatchObject({ file: "f" });
  }
  expect(built.spec === undefined).toBe(built.problems.some((problem) => problem.severity === "error"));
  if (built.spec === undefined) return;
  expect(weaknesses(built.spec, true)).toBeInstanceOf(Array);
  checkEffective(assignments);
}

/** What holds, written as a file again (berth cat --effective), means the same. */
function checkEffective(assignments: readonly Assignment[]): void {
  const holding = new Assigned(assignments, () => undefined).effective();
  const text = holding.map(({ section, key, value }) => `[${section}]\n${key}=${value}\n`).join("");
  const again = parseUnitFile(text, "again").assignments;
  const bare = (list: readonly Assignment[]) => list.map(({ section, key, value }) => ({ section, key, value }));
  expect(bare(again)).toEqual(bare(holding));
}
