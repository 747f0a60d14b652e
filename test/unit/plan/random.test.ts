import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { generator } from "../../lib/random.ts";
import { checkPlan, planOf, type RandomMachine, randomMachine } from "../../lib/random-plan.ts";

/** More and others of them: test/integration/fuzz.long.test.ts, which writes what it finds to test/fuzz/program. */
const SEEDS = Array.from({ length: 200 }, (_, seed) => seed);

test("random machines have sound plans, or are refused", () => {
  let planned = 0;
  for (const seed of SEEDS) {
    const machine = randomMachine(generator(seed));
    try {
      const plan = planOf(machine);
      if (plan === undefined) continue;
      planned++;
      checkPlan(plan);
    } catch (error) {
      throw new Error(`seed ${seed}: ${JSON.stringify(machine)}`, { cause: error });
    }
  }
  expect(planned).toBeGreaterThan(SEEDS.length / 4);
});

const CORPUS = new URL("../../fuzz/program/", import.meta.url);

describe("what once went wrong", () => {
  const files = readdirSync(CORPUS).filter((name) => name.endsWith(".json"));
  test.each(files)("%s", (name) => {
    const plan = planOf(JSON.parse(readFileSync(new URL(name, CORPUS), "utf8")) as RandomMachine);
    if (plan !== undefined) checkPlan(plan);
  });
});
