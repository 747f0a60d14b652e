import { expect, describe as group, test } from "vitest";
import { buildPlan } from "../../../src/plan/build.ts";
import { cutPlan, findStep } from "../../../src/plan/cut.ts";
import { describe } from "../../../src/plan/describe.ts";
import type { LaunchPlan, StepKind } from "../../../src/plan/step.ts";
import { GOLDENS, goldenInput, inputOf } from "../../golden/inputs.ts";
import { deadlocks, namelessFds, unpairedSyncs } from "./actors.ts";

const SHELL = { candidates: ["/bin/sh"], argv: [], environment: [], directory: null };
/** What stands between a machine and its host. */
const CONFINES: readonly StepKind[] = [
  ...([
    "load-filter",
    "load-seccomp",
    "drop-bounding-set",
    "set-capabilities",
    "no-new-privileges",
    "lock-mounts",
  ] as const),
  ...(["claim-range", "write-id-maps", "clone-init", "lock-name", "lock-tree", "enter-root", "become-root"] as const),
];

function kinds({ steps }: LaunchPlan, wanted: readonly StepKind[]): readonly StepKind[] {
  return steps.map(({ kind }) => kind).filter((kind) => wanted.includes(kind));
}

group.each(GOLDENS)("%s, cut at each of its steps", (golden) => {
  const plan = buildPlan(goldenInput(golden));
  const cuts = plan.steps.map((_, at) => cutPlan(plan, at, SHELL));

  test("is a plan that comes to its end, or nothing can be without that step", () => {
    expect(cuts.filter((cut) => cut !== null).length).toBeGreaterThan(10);
    const seen = new Set<string>();
    for (const cut of cuts) {
      if (cut === null) continue;
      const key = JSON.stringify(cut.plan);
      if (seen.has(key)) continue;
      seen.add(key);
      expect([namelessFds(cut.plan), unpairedSyncs(cut.plan)]).toEqual([[], []]);
    }
    // Walking all interleavings takes its time: the first, the last and the middle one.
    const some = cuts.filter((cut) => cut !== null);
    for (const cut of [some[0], some[some.length >> 1], some.at(-1)])
      expect(cut === undefined ? [] : deadlocks(cut.plan)).toEqual([]);
  });

  test("confines what runs in it as the whole does", () => {
    for (const cut of cuts) if (cut !== null) expect(kinds(cut.plan, CONFINES)).toEqual(kinds(plan, CONFINES));
  });

  test("covers what acts on the host wherever that is there", () => {
    for (const cut of cuts) {
      const steps = cut?.plan.steps ?? [];
      const there = steps.flatMap((step) => (step.kind === "attach" && step.args.api ? [step.args.target] : []));
      for (const step of plan.steps) {
        if (cut === null || (step.kind !== "mask" && step.kind !== "lock-read-only")) continue;
        if (there.some((target) => step.args.path.startsWith(`${target}/`))) expect(steps).toContain(step);
      }
    }
  });

  test("all before that step is as it was", () => {
    cuts.forEach((cut, at) => {
      if (cut !== null) expect(Math.min(...cut.left, plan.steps.length)).toBeGreaterThanOrEqual(at);
    });
  });
});

test("what is left out, and what is executed instead", () => {
  const plan = buildPlan(
    inputOf("web", "[Files]\nTemporaryFileSystem=/x\nTemporaryFileSystem=/y\n[Exec]\nHostname=h\n", {}),
  );
  const at = plan.steps.findIndex((step) => step.kind === "attach" && step.args.target === "/y");
  const cut = cutPlan(plan, at, SHELL);
  const targets = cut?.plan.steps.flatMap((step) => (step.kind === "attach" ? [step.args.target] : []));
  expect(targets).toContain("/x");
  expect(targets).not.toContain("/y");
  expect(cut?.left).toContain(at);
  expect(cut?.plan.steps.filter(({ kind }) => kind === "execute").map(({ args }) => args)).toEqual([SHELL]);
  const spawn = plan.steps.findIndex(({ kind }) => kind === "spawn-stage");
  expect(cutPlan(plan, spawn, SHELL)).toBe(null);
  const last = cutPlan(
    plan,
    plan.steps.findIndex(({ kind }) => kind === "execute"),
    SHELL,
  );
  expect(last?.left).toEqual([]);
});

test("the step that failed is found again by what it did", () => {
  const plan = buildPlan(inputOf("web", "[Files]\nTemporaryFileSystem=/x\n", {}));
  const at = plan.steps.findIndex((step) => step.kind === "attach" && step.args.target === "/x");
  const step = plan.steps[at];
  if (step === undefined) throw new Error("no such step");
  const failed = { phase: step.phase, describe: describe(step) };
  expect(
    findStep(
      buildPlan(inputOf("web", "[Files]\nTemporaryFileSystem=/a\nTemporaryFileSystem=/x:size=1m\n", {})),
      failed,
    ),
  ).toBeUndefined();
  expect(findStep(plan, failed)).toBe(at);
});
