import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parseUnitFile } from "../../../src/config/unit-file.ts";
import { buildSpec } from "../../../src/spec/build-spec.ts";
import { showProblem } from "../../../src/spec/problem.ts";
import { showSource } from "../../../src/spec/source.ts";
import { weaknesses } from "../../../src/spec/weaknesses.ts";

/**
 * Each seed of test/fuzz/settings is read as a user's file would be; what comes out stands beside it in NAME.expected.
 * UPDATE=1 rewrites those: review the difference.
 */
const SEEDS = new URL("../../fuzz/settings/", import.meta.url);
const seeds = readdirSync(SEEDS)
  .filter((name) => name.endsWith(".nspawn"))
  .sort();

test("the corpus is there", () => {
  expect(seeds.length).toBeGreaterThan(50);
});

describe("seed", () => {
  test.each(seeds)("%s", (seed) => {
    const shown = show(readFileSync(new URL(seed, SEEDS), "utf8"), seed);
    const golden = new URL(seed.replace(/\.nspawn$/, ".expected"), SEEDS);
    if (process.env["UPDATE"] === "1") writeFileSync(golden, shown);
    expect(shown).toBe(readFileSync(golden, "utf8"));
  });
});

function show(text: string, file: string): string {
  const parsed = parseUnitFile(text, file);
  const built = buildSpec({
    name: "m",
    root: { value: "/m", source: { from: "default" } },
    assignments: parsed.assignments,
    problems: parsed.problems,
    options: [],
    command: [],
  });
  return [
    ...parsed.assignments.map(({ section, key, value, source, continued }) => {
      const place = source.from === "file" ? `${source.line}:${source.column}` : "";
      const lines = continued?.map((each) => ` +${each.offset}=${each.line}:${each.column}`).join("") ?? "";
      return `${place}${lines} [${JSON.stringify(section).slice(1, -1)}] ${JSON.stringify(key)} = ${JSON.stringify(value)}`;
    }),
    "--- problems",
    ...built.problems.map(showProblem),
    "--- spec",
    ...(built.spec === undefined ? ["none"] : showSpec(built.spec)),
    ...(built.spec === undefined
      ? []
      : weaknesses(built.spec, false).map((each) => `weak: ${each.what} (${showSource(each.source)})`)),
    "",
  ].join("\n");
}

/** Only what is not by default. */
function showSpec(spec: object): string[] {
  return Object.entries(spec).flatMap(([key, value]) => {
    const list = Array.isArray(value) ? value : [value];
    return list
      .filter((each) => typeof each === "object" && each.source.from !== "default")
      .map((each) => `${key}: ${JSON.stringify(each.value)} (${showSource(each.source)})`);
  });
}
