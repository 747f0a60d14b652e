import { readFileSync } from "node:fs";
import { expect, describe as group, test } from "vitest";
import { compile } from "../../../src/exec/compile.ts";
import { buildPlan } from "../../../src/plan/build.ts";
import { describe } from "../../../src/plan/describe.ts";
import { buildJoin, type JoinTarget } from "../../../src/plan/join.ts";
import { type BindRequest, buildBind, buildOpenTerminal, buildUnbind } from "../../../src/plan/live-mounts.ts";
import { planText } from "../../../src/plan/show.ts";
import type { LaunchPlan, Step } from "../../../src/plan/step.ts";
import { undoOf } from "../../../src/plan/undo.ts";
import { GOLDENS, goldenInput } from "../../golden/inputs.ts";
import { handedFds } from "../exec/image.ts";
import { deadlocks, namelessFds, unpairedSyncs } from "./actors.ts";

const BIND: BindRequest = {
  source: "/srv/data",
  type: "directory",
  target: "/data",
  readOnly: true,
  create: true,
  mapping: { uids: [{ disk: 0, host: 524288, count: 1 }], gids: [{ disk: 0, host: 524288, count: 1 }] },
  list: "/run/x/binds.json",
};
const launches = GOLDENS.map((name): [string, LaunchPlan] => [name, buildPlan(goldenInput(name))]);
const JOINED = ["default", "network-host-users-no", "everything", "process"];
const joins = launches
  .filter(([name]) => JOINED.includes(name))
  .flatMap(([name, plan]) =>
    (["terminal", "caller"] as const).map((stdio): [string, LaunchPlan] => [
      `join ${name}, ${stdio}`,
      join(plan, stdio),
    ]),
  );
const binds = launches
  .filter(([name]) => JOINED.includes(name))
  .flatMap(([name, plan]): [string, LaunchPlan][] => [
    [`bind into ${name}`, buildBind(targetOf(plan), BIND)],
    [`a terminal of ${name}`, buildOpenTerminal(targetOf(plan))],
    [`unbind from ${name}`, buildUnbind(targetOf(plan), "/srv/data", ["42", "4711"])],
  ]);
const PLANS = [...launches, ...joins, ...binds];
const [, EVERYTHING] = launches.find(([name]) => name === "everything") as [string, LaunchPlan];

function targetOf(plan: LaunchPlan): JoinTarget {
  return { machine: plan.machine, pid: 4242, startTime: "123456", cgroup: "/sys/fs/cgroup/x/payload/y", plan };
}

function join(plan: LaunchPlan, stdio: "terminal" | "caller"): LaunchPlan {
  const target = targetOf(plan);
  const candidates = ["/usr/bin/true", "/bin/true"];
  return buildJoin(target, { argv: ["true"], candidates, environment: ["A=b"], directory: "/", user: null, stdio });
}

/** A plan in which every `change` step is replaced by what `into` makes of it. */
function changed(change: (step: Step) => readonly Step[]): LaunchPlan {
  return { ...EVERYTHING, steps: EVERYTHING.steps.flatMap(change) };
}

group("sync points", () => {
  test.each(PLANS)("%s: each has two ends that agree", (_, plan) => {
    expect(unpairedSyncs(plan)).toEqual([]);
  });

  test.each(PLANS)("%s: all processes come to their end, whatever the order they run in", (_, plan) => {
    expect(deadlocks(plan)).toEqual([]);
  });

  test.each([...launches, ...joins])("%s: numbers ascend as they are first met", (_, plan) => {
    const numbers = plan.steps.flatMap((step) => ("sync" in step.args ? [step.args.sync] : []));
    const first = [...new Set(numbers)];
    expect(first).toEqual(first.toSorted((a, b) => a - b));
    expect(first.length).toBeGreaterThan(1);
  });

  test.each(PLANS)("%s: nobody uses an fd that has not come to it", (_, plan) => {
    expect(namelessFds(plan)).toEqual([]);
  });
});

group("the checks above find", () => {
  test("a signal that is missing", () => {
    const plan = changed((step) => (step.kind === "signal" && step.args.sync === 6 ? [] : [step]));
    expect(unpairedSyncs(plan)).toEqual(["sync #6 has 0 senders and 1 receivers"]);
    expect(deadlocks(plan)).toContainEqual(expect.stringMatching(/^init waits for ever/));
  });

  test("two that wait for each other", () => {
    const isScore = (step: Step) => step.phase === "keeper" && step.kind === "await" && step.args.sync === 7;
    const score = EVERYTHING.steps.find(isScore) as Step;
    // The keeper waits for the host's #7 before it tells it #4.
    const plan = changed((step) => {
      const isWhole = (step.kind === "signal" || step.kind === "await") && step.args.sync === 2;
      if (isScore(step) || isWhole) return [];
      return step.kind === "clone-init" ? [step, score] : [step];
    });
    expect(deadlocks(plan)).toContainEqual(expect.stringMatching(/^host waits for ever/));
  });

  test("messages that are taken for each other", () => {
    const plan = changed((step) => {
      if (step.phase !== "init" || step.kind !== "await") return [step];
      return [{ ...step, args: { ...step.args, sync: 15 - step.args.sync } }];
    });
    expect(deadlocks(plan)).toContain("init waits for sync #9 and gets #6");
  });

  test("a message that nobody reads", () => {
    const plan = changed((step) => (step.kind === "await" && step.args.sync === 8 ? [] : [step]));
    expect(deadlocks(plan)).toContain("nobody reads #8 from status-to-host");
  });

  test("an init that nobody clones", () => {
    expect(deadlocks(changed((step) => (step.kind === "clone-init" ? [] : [step])))).toContain("init is never started");
  });

  test("an fd that is used before it is made, or was not handed over", () => {
    const late = changed((step) => (step.kind === "clone-tree" && step.args.fd === "bind:0" ? [] : [step]));
    expect(namelessFds(late)).toContainEqual(expect.stringMatching(/^#\d+ keeper attach uses bind:0, which/));
    const kept = changed((step) => {
      if ((step.kind !== "signal" && step.kind !== "await") || step.args.sync !== 5) return [step];
      const carries = step.args.carries.filter((fd) => fd !== "proc");
      return [{ ...step, args: { ...step.args, carries } } as Step];
    });
    expect(namelessFds(kept)).toEqual([expect.stringMatching(/keeper attach uses proc, which/)]);
  });
});

group("steps", () => {
  test("of every kind occur in these plans", () => {
    const source = readFileSync(new URL("../../../src/plan/step.ts", import.meta.url), "utf8");
    const body = /interface StepKinds \{\n(.*?)\n\}/s.exec(source)?.[1] ?? "";
    const kinds = [...body.matchAll(/^ {2}"?([a-z-]+)"?:/gm)].map(([, kind]) => kind);
    expect(kinds.length).toBeGreaterThan(40);
    const met = new Set<string>(PLANS.flatMap(([, plan]) => plan.steps.map(({ kind }) => kind)));
    expect(kinds.filter((kind) => !met.has(kind ?? ""))).toEqual([]);
  });

  test.each(PLANS)("%s: each says what it does and how it is taken back, in one line", (_, plan) => {
    for (const step of plan.steps)
      for (const text of [describe(step), undoOf(step)]) {
        expect(text, step.kind).toMatch(/^\S.*\S$/);
        expect(text, step.kind).not.toMatch(/undefined|(?<!\/dev\/)null|NaN|\[object/);
      }
  });

  test("show nothing that could command a terminal", () => {
    const [step] = EVERYTHING.steps.filter(({ kind }) => kind === "set-hostname");
    const hostname = "a\u001b[2J\u202eb\u0007\n";
    const text = describe({ ...step, args: { hostname } } as Step);
    expect(text).toBe("set the hostname to a\\u{1b}[2J\\u{202e}b\\u{7}\\u{a}");
  });
});

group("a plan", () => {
  test.each(GOLDENS)("%s: the same input gives the same plan", (name) => {
    expect(buildPlan(goldenInput(name))).toEqual(buildPlan(goldenInput(name)));
  });

  test.each(GOLDENS)("%s: making it changes nothing of its input", (name) => {
    const input = goldenInput(name);
    const before = JSON.stringify(input);
    buildPlan(input);
    expect(JSON.stringify(input)).toBe(before);
  });

  test.each(PLANS)("%s: is JSON: written and read again it prints and compiles the same", (_, plan) => {
    const again = JSON.parse(JSON.stringify(plan)) as LaunchPlan;
    expect(again).toEqual(plan);
    expect(planText(again)).toBe(planText(plan));
    const filter = Buffer.from("0600000000000500", "hex");
    const images = [plan, again].map((each) => compile(each, "x64", handedFds(each), filter).image);
    expect(images[1]?.size).toBe(images[0]?.size);
    expect(images[1]?.parts).toEqual(images[0]?.parts);
  });
});

group("the seccomp filter", () => {
  test.each(launches)("%s: allows what init calls when it has one", (_, plan) => {
    const { programs } = compile(plan, "x64", handedFds(plan), Buffer.alloc(8));
    const init = programs[1]?.ops ?? [];
    const loaded = init.findIndex(({ name }) => name === "seccomp");
    const allowed = plan.steps.flatMap((step) => (step.kind === "load-filter" ? step.args.policy.allow : []));
    const calls = init.slice(loaded + 1).filter(({ number }) => number >= 0);
    expect(calls.map(({ name }) => name).filter((name) => !allowed.includes(name))).toEqual([]);
    expect(calls.length).toBeGreaterThan(0);
  });
});
