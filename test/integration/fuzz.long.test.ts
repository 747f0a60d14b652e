/**
 * The settings parser, the planner and the reader of bus messages with input that is new each time. FUZZ_SECONDS=N: so long each, a minute unless
 * told; `Infinity` goes on until something is found. What is found becomes a file of the corpus, to be looked at,
 * named and kept: test/fuzz/settings/*.nspawn, program/*.json and bus/*.hex there, which `npm test` reads.
 */
import { writeFileSync } from "node:fs";
import { test } from "vitest";
import { checkLeaks } from "../lib/leaks.ts";
import { generator } from "../lib/random.ts";
import { checkMessages, damaged, MESSAGE_FILES, randomMessages } from "../lib/random-message.ts";
import { checkPlan, planOf, randomMachine } from "../lib/random-plan.ts";
import { checkSettings, mutated, randomText, SEED_FILES, seedTexts } from "../lib/random-settings.ts";

checkLeaks();

const SECONDS = Number(process.env["FUZZ_SECONDS"] ?? 60);
const FIRST = Date.now() % 2 ** 31;
const timeout = Math.min((SECONDS + 60) * 1000, 2 ** 31 - 1);

/** Calls one seed after the other until the time is over. @throws what it throws, after `keep` was called */
function fuzz(run: (seed: number) => void, keep: (seed: number) => URL): void {
  const end = Date.now() + SECONDS * 1000;
  for (let seed = FIRST; Date.now() < end; seed++) {
    try {
      run(seed);
    } catch (error) {
      throw new Error(`seed ${seed}, kept as ${keep(seed).pathname}`, { cause: error });
    }
  }
}

test("settings", { timeout }, () => {
  const seeds = seedTexts();
  const textOf = (seed: number): string => {
    const below = generator(seed);
    return below(2) === 0 ? randomText(below) : mutated(below, seeds);
  };
  fuzz(
    (seed) => checkSettings(textOf(seed)),
    (seed) => kept(new URL(`crash-${seed}.nspawn`, SEED_FILES), textOf(seed)),
  );
});

test("plans and programs", { timeout }, () => {
  fuzz(
    (seed) => {
      const plan = planOf(randomMachine(generator(seed)));
      if (plan !== undefined) checkPlan(plan);
    },
    (seed) => {
      const machine = JSON.stringify(randomMachine(generator(seed)), null, 2);
      return kept(new URL(`../fuzz/program/crash-${seed}.json`, import.meta.url), `${machine}\n`);
    },
  );
});

test("messages of a bus", { timeout }, () => {
  const textOf = (seed: number): Buffer => damaged(generator(seed), randomMessages(generator(seed)));
  fuzz(
    (seed) => checkMessages(textOf(seed), generator(seed)),
    (seed) => {
      const file = new URL(`crash-${seed}.hex`, MESSAGE_FILES);
      return kept(file, `${textOf(seed).toString("hex")}\n`);
    },
  );
});

function kept(file: URL, text: string): URL {
  writeFileSync(file, text);
  return file;
}
