import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { buildPlan } from "../../../src/plan/build.ts";
import { checkPreconditions } from "../../../src/plan/preconditions.ts";
import { planJson, planText } from "../../../src/plan/show.ts";
import { GOLDENS, goldenFile, goldenInput } from "../../golden/inputs.ts";

/**
 * Each test/golden/NAME.nspawn, with NAME.json if there is one (inputs.ts), makes the plan in NAME.plan.
 * UPDATE=1 rewrites the plans: the difference is what a change means to users, so read it.
 */
function expectGolden(text: string, file: string): void {
  const golden = goldenFile(file);
  if (process.env["UPDATE"] === "1") writeFileSync(golden, text);
  expect(text, `${file}: UPDATE=1 rewrites it`).toBe(existsSync(golden) ? readFileSync(golden, "utf8") : "");
}

test.each(GOLDENS)("%s", (name) => {
  expectGolden(planText(buildPlan(goldenInput(name))), `${name}.plan`);
});

/** The policy's lists of calls are seccomp-policy.test.ts's business: here their lengths stand for them. */
function countLists(key: string, value: unknown): unknown {
  if (key !== "policy") return value;
  return Object.fromEntries(
    Object.entries(value as object).map(([name, item]) => [name, Array.isArray(item) ? item.length : item]),
  );
}

test("as JSON", () => {
  const plan = planJson(buildPlan(goldenInput("everything")));
  expectGolden(`${JSON.stringify(plan, countLists, 2)}\n`, "everything.json.plan");
});

describe("the inputs", () => {
  test("are there", () => {
    expect(GOLDENS.length).toBeGreaterThan(12);
  });

  test.each(GOLDENS)("%s meets every precondition", (name) => {
    expect(checkPreconditions(goldenInput(name))).toEqual([]);
  });

  test("cover what settings do: every line of everything.nspawn that leads to a step is named by one", () => {
    const settings = readFileSync(goldenFile("everything.nspawn"), "utf8").split("\n");
    const text = planText(buildPlan(goldenInput("everything")));
    const unnamed = settings
      .map((line, index) => ({ line, number: index + 1 }))
      .filter(({ line }) => /^\w+=/.test(line))
      .filter(({ number }) => !new RegExp(`everything\\.nspawn:${number}$`, "m").test(text))
      .map(({ line }) => line.replace(/=.*/, ""));
    // Part of a step that has another reason to be there, or of none: KillSignal= is for the end of the machine.
    expect(unnamed).toEqual([
      "Parameters",
      "Environment",
      "Environment",
      "MachineID",
      "KillSignal",
      "DropCapability",
      "SystemCallFilter",
    ]);
  });
});
