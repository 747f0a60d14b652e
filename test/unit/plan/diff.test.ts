import { expect, test } from "vitest";
import { buildPlan } from "../../../src/plan/build.ts";
import { diffPlans } from "../../../src/plan/diff.ts";
import { diffText } from "../../../src/plan/show.ts";
import type { LaunchPlan } from "../../../src/plan/step.ts";
import { type Changes, GOLDENS, goldenInput, inputOf } from "../../golden/inputs.ts";

const planOf = (settings: string, changes: Changes = {}): LaunchPlan => buildPlan(inputOf("web", settings, changes));
const lines = (before: LaunchPlan, after: LaunchPlan): string => diffText(diffPlans(before, after));

test.each(GOLDENS)("%s: a plan is the same as itself, also when it was written down", (golden) => {
  const plan = buildPlan(goldenInput(golden));
  expect(diffPlans(plan, JSON.parse(JSON.stringify(plan)) as LaunchPlan)).toEqual([]);
});

test("a new step comes with its setting; sync numbers and lines that move are no change", () => {
  const before = planOf("[Exec]\nHostname=a\n");
  const after = planOf("\n\n[Exec]\nHostname=a\n[Files]\nTemporaryFileSystem=/x:size=1m\n");
  expect(lines(before, after)).toMatch(
    /^\+ #\d+ keeper {2}make tmpfs .*size=1m +web\.nspawn:6\n\+ #\d+ .*attach .* on \/x .*\n$/,
  );
  expect(diffPlans(after, before).map(({ change }) => change)).toEqual(["-", "-"]);
});

test("what is not in a step's description is told below it", () => {
  const diff = lines(
    planOf("[Exec]\nEnvironment=A=1\nEnvironment=B=2\n"),
    planOf("[Exec]\nEnvironment=A=2\nEnvironment=B=2\n"),
  );
  expect(diff).toMatch(/^- #\d+ init {4}execute .*\n\+ #\d+ init {4}execute .*\n {15}environment: -"A=1" \+"A=2"\n$/);
});

test("a value that changes is a step that goes and one that comes, in this order", () => {
  const diff = lines(planOf("[Exec]\nHostname=a\n"), planOf("[Exec]\nHostname=b\n"));
  expect(diff).toMatch(
    /- #\d+ init {4}set the hostname to a +web\.nspawn:2\n\+ #\d+ init {4}set the hostname to b +web\.nspawn:2\n/,
  );
});

test("a policy of system calls tells the calls, and not all of many", () => {
  const diff = lines(planOf(""), planOf("[Exec]\nSystemCallFilter=~@file-system\n"));
  expect(diff).toMatch(/\n {15}policy\.allow: (-"[a-z0-9_]+" ){8}and \d+ more\n/);
  expect(diff).not.toContain("key");
  // What was not allowed before is no change.
  expect(lines(planOf(""), planOf("[Exec]\nSystemCallFilter=~kexec_load\n"))).not.toContain("allow");
});

test("names that are made up for each start are no change", () => {
  const settings = "[Exec]\nResolvConf=copy-host\n";
  const facts = { host: { timezone: "Europe/Berlin" } };
  const [one, two] = ["0", "f"].map((digit) => {
    const input = inputOf("web", settings, facts);
    return buildPlan({ ...input, machine: { ...input.machine, randomId: digit.repeat(32) } });
  });
  if (one === undefined || two === undefined) throw new Error("no plans");
  expect(JSON.stringify(one)).not.toBe(JSON.stringify(two));
  expect(diffPlans(one, two).map(({ step }) => step.kind)).not.toContain("copy-file");
});
