import { describe, expect, test } from "vitest";
import { SETTINGS } from "../../../src/config/settings.ts";
import { parseUnitFile } from "../../../src/config/unit-file.ts";
import { buildSpec } from "../../../src/spec/build-spec.ts";
import { showProblem } from "../../../src/spec/problem.ts";
import { generator } from "../../lib/random.ts";
import { build, checkSettings, mutated, PIECES, randomText, seedTexts } from "../../lib/random-settings.ts";

/** More and others: test/integration/fuzz.long.test.ts. */
describe("random text", () => {
  test.each(Array.from({ length: 300 }, (_, seed) => seed))("seed %i", (seed) => {
    checkSettings(randomText(generator(seed)));
  });

  const seeds = seedTexts();
  test.each(Array.from({ length: 500 }, (_, seed) => seed))("a seed of the corpus, changed: %i", (seed) => {
    checkSettings(mutated(generator(seed), seeds));
  });

  test.each(Array.from({ length: 50 }, (_, seed) => seed))("bytes of seed %i", (seed) => {
    const below = generator(seed + 1000);
    const bytes = Uint8Array.from({ length: below(5000) }, () => below(256));
    const { assignments } = parseUnitFile(new TextDecoder().decode(bytes), "f");
    expect(() => build(assignments)).not.toThrow();
  });
});

describe("random values of each setting", () => {
  test.each(SETTINGS)("[$section] $key", ({ section, key, parse, parseOption }) => {
    const below = generator(key.length);
    for (let round = 0; round < 100; round++) {
      const value = Array.from({ length: 1 + below(12) }, () => PIECES[below(PIECES.length)]).join("");
      for (const each of [parse, parseOption ?? parse]) {
        const offsets: number[] = [];
        expect(() => each(value, (fault) => offsets.push(fault.offset ?? 0))).not.toThrow();
        for (const offset of offsets) expect(offset).toBeLessThanOrEqual(value.length);
      }
      expect(() => build([{ section, key, value, source: { from: "option", option: "o" } }], value)).not.toThrow();
    }
  });
});

// Quadratic steps would take minutes here and run into the test's time limit.
describe("a long value of one kind", () => {
  const long = (piece: string): string => piece.repeat(2 ** 18 / piece.length);
  const parsers = new Map(SETTINGS.map((setting) => [setting.parse, setting]));
  test.each([...parsers.values()])("for [$section] $key", ({ parse }) => {
    for (const piece of ["a", "1", "/", "a:", "A=1 ", "0-1,", "-", ". "])
      for (const value of [long(piece), `/${long(piece)}!`, `~${long(piece)}`]) parse(value, () => undefined);
  });

  test("as section, key, option and name", () => {
    const name = long("Boo");
    const option = { section: name, key: "a", value: "1", option: name };
    const { problems } = buildSpec({
      name,
      root: { value: "/m", source: { from: "default" } },
      assignments: [],
      options: [option, { ...option, section: "Exec", key: name }, { ...option, section: "Exec", key: "Hostname" }],
      command: [],
    });
    expect(problems.length).toBeGreaterThan(2);
    for (const problem of problems) expect(showProblem(problem).length).toBeLessThan(400);
  });
});

test("a file that has a problem in each line is not read to the end", () => {
  const text = `[Exec]\n${"Capability=CAP_NET_ADMN\nNoSuchSetting=1\n".repeat(10_000)}`;
  const { problems } = build(parseUnitFile(text, "f").assignments);
  expect(problems).toHaveLength(1000);
  expect(problems.map((problem) => problem.what)).toContain("more than 1000 problems, the rest is not read");
});

test("ten thousand binds are read, and their targets compared", () => {
  const lines = Array.from({ length: 10_000 }, (_, index) => `Bind=/srv/${index}:/mnt/${index % 9_999}\n`).join("");
  const { spec, problems } = build(parseUnitFile(`[Files]\n${lines}`, "f").assignments);
  expect(spec?.binds).toHaveLength(10_000);
  expect(problems.map(showProblem)).toEqual(['f:10001:6: warning: bind target "/mnt/0" hides the one of f:2']);
});
