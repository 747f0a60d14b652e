import { expect, test } from "vitest";
import { buildPlan } from "../../../src/plan/build.ts";
import { describe as describeStep } from "../../../src/plan/describe.ts";
import type { PlanInput } from "../../../src/plan/input.ts";
import { goldenInput } from "../../golden/inputs.ts";

function lines(input: PlanInput): string[] {
  return buildPlan(input).steps.map(describeStep);
}

test("an ephemeral machine's first boot has an empty layer, and a reboot the one it had: nothing else differs", () => {
  const input = goldenInput("ephemeral");
  const first = lines(input);
  const again = lines({ ...input, request: { ...input.request, reboot: true } });
  const changed = first.flatMap((line, index) => (line === again[index] ? [] : [[line, again[index]]]));
  const { layer } = input.places;
  expect(changed).toEqual([
    [
      `make an empty layer for changes in ${layer} as layer`,
      `go on with the kept layer of changes in ${layer} as layer`,
    ],
  ]);
  expect(again).toHaveLength(first.length);
});

test("who writes to a tree locks it before anything of it is touched, and nobody else does", () => {
  const index = (input: PlanInput, kind: string): number =>
    buildPlan(input).steps.findIndex((step) => step.kind === kind);
  const input = goldenInput("default");
  expect(index(input, "lock-tree")).toBeGreaterThan(index(input, "make-record"));
  expect(index(input, "lock-tree")).toBeLessThan(index(input, "clone-tree"));
  for (const golden of ["ephemeral", "read-only", "volatile-state"])
    expect(index(goldenInput(golden), "lock-tree"), golden).toBe(-1);
});

test("who only reads a tree shares its lock with others who do", () => {
  const shared = (golden: string): boolean[] =>
    buildPlan(goldenInput(golden)).steps.flatMap((step) => (step.kind === "lock-tree" ? [step.args.shared] : []));
  for (const golden of ["read-only-machine", "volatile-yes", "volatile-overlay"])
    expect(shared(golden)).toEqual([true]);
  expect(shared("default")).toEqual([false]);
});

test("a tree that others use at the same time keeps the mount points that were made in it", () => {
  const removed = (golden: string): unknown[] =>
    buildPlan(goldenInput(golden)).steps.filter(({ args }) => "remove" in args && args.remove);
  for (const golden of ["read-only-machine", "volatile-yes", "volatile-state", "volatile-overlay", "ephemeral"])
    expect(removed(golden), golden).toEqual([]);
  expect(removed("default").length).toBeGreaterThan(0);
});

test("a root becomes read-only when all is mounted and written in it", () => {
  const { steps } = buildPlan(goldenInput("read-only-machine"));
  const index = steps.findIndex((step) => step.kind === "set-read-only" && step.args.path === "/");
  expect(steps[index + 1]?.kind).toBe("enter-root");
});
