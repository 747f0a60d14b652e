import { afterEach, expect, test, vi } from "vitest";
import { AlikePrograms } from "../../../src/exec/alike-programs.ts";
import * as compiler from "../../../src/exec/compile.ts";
import { buildPlan } from "../../../src/plan/build.ts";
import type { PlanInput } from "../../../src/plan/input.ts";
import type { LaunchPlan, Step } from "../../../src/plan/step.ts";
import type { Image } from "../../../src/stage/assembler.ts";
import { Segment } from "../../../src/stage/segment.ts";
import { GOLDENS, goldenInput } from "../../golden/inputs.ts";
import { BASE, handedFds } from "./image.ts";

const FILTER = Buffer.from("200000000400000006000000000000000600000000ff7f00", "hex");
const ARCH = "x64";

afterEach(() => vi.restoreAllMocks());

function of(plan: LaunchPlan): { plan: LaunchPlan; texts: string[] } {
  return { plan, texts: plan.steps.map((step) => JSON.stringify(step)) };
}

/** Another machine with these settings: each value of its own, also as long ones as there are. */
function another(input: PlanInput, index: number): PlanInput {
  const name = `n${"x".repeat(index * 9)}`;
  const { spec, machine } = input;
  return {
    ...input,
    spec: { ...spec, name, hostname: { ...spec.hostname, value: name } },
    machine: {
      ...machine,
      rangeBase: machine.rangeBase === null ? null : machine.rangeBase + (index + 1) * 0x10000,
      randomId: `${index}`.repeat(32),
      tree: { ...machine.tree, machineId: `${index + 1}`.repeat(32) },
    },
  } as PlanInput;
}

/** Starts and sizes of all that was placed in the image that is compiled meanwhile. */
function placesOf(compile: () => Image): { image: Image; sizes: ReadonlyMap<number, number> } {
  const sizes = new Map<number, number>();
  const reserve = Segment.prototype.reserve;
  vi.spyOn(Segment.prototype, "reserve").mockImplementation(function (this: Segment, size) {
    const pointer = reserve.call(this, size);
    sizes.set(pointer.at, size);
    return pointer;
  });
  const image = compile();
  vi.restoreAllMocks();
  return { image, sizes };
}

/** That one image means what another does: the same words, and behind addresses the same things. */
function expectSame(image: Image, plan: LaunchPlan): void {
  const whole = placesOf(() => compiler.compile(plan, ARCH, handedFds(plan), FILTER).image);
  const starts = [...whole.sizes.keys()].sort((a, b) => a - b);
  /** Where what an offset leads into the middle of begins. */
  const startOf = (offset: number): number | undefined => starts.findLast((start) => start <= offset);
  const seen = new Set<number>();
  const same = (at: number, expected: number, size: number): void => {
    if (seen.has(expected)) return;
    seen.add(expected);
    for (let offset = 0; offset < size; offset += 8) {
      const [is, should] = [wordAt(image, at + offset), wordAt(whole.image, expected + offset)];
      const start = should[1] === ADDRESS ? startOf(should[0]) : undefined;
      if (start !== undefined) same(is[0] - should[0] + start, start, whole.sizes.get(start) ?? 0);
      else if (is[0] !== should[0] || is[1] !== should[1])
        if (at + offset !== 8)
          // The size of the image may be another.
          expect(is, `at ${at + offset}, ${expected + offset}`).toEqual(should);
    }
  };
  same(0, 0, 28 * 8);
  expect(seen.size).toBeGreaterThan(100);
}

/** Upper half of an address in the image. */
const ADDRESS = Number(BASE >> 32n);

/** What no part holds is zeros, as the rest of the last word. */
function wordAt({ parts }: Image, at: number): [low: number, high: number] {
  const part = parts.find(({ offset, bytes }) => at >= offset && at < offset + bytes.length);
  if (part === undefined) return [0, 0];
  const from = at - part.offset;
  const { bytes } = part;
  if (from + 8 <= bytes.length) return [bytes.readUInt32LE(from), bytes.readUInt32LE(from + 4)];
  const last = Buffer.concat([bytes.subarray(from), Buffer.alloc(8)]);
  return [last.readUInt32LE(0), last.readUInt32LE(4)];
}

test.each(GOLDENS)("%s: machines with the same settings get what a compilation of their own gives", (name) => {
  const alike = new AlikePrograms();
  for (const index of [0, 1, 3, 2, 0, 2]) {
    const plan = buildPlan(another(goldenInput(name), index));
    const { image, programs } = alike.compile(of(plan), ARCH, handedFds(plan), FILTER);
    expectSame(image, plan);
    expect(programs).toEqual(compiler.compile(plan, ARCH, handedFds(plan), FILTER).programs);
  }
});

test("of machines that differ in names and ids all but the first are varied from it; of another kind none is", () => {
  const laid = vi.spyOn(Segment.prototype, "reserve");
  const alike = new AlikePrograms();
  const ask = (plan: LaunchPlan, filter = FILTER): number => {
    laid.mockClear();
    const launch = of(plan);
    alike.compile(launch, ARCH, handedFds(plan), filter);
    Object.assign(launch, { plan: { ...plan, steps: [] }, texts: [] }); // as one forgets when its machine runs
    return laid.mock.calls.length;
  };
  const [first, ...others] = [0, 1, 2, 3].map((index) => buildPlan(another(goldenInput("default"), index)));
  if (first === undefined) throw new Error("there is none");
  const whole = ask(first);
  for (const plan of others) expect(ask(plan)).toBeLessThan(whole / 8);
  expect(ask(first, Buffer.concat([FILTER, FILTER]))).toBeGreaterThanOrEqual(whole);
  expect(ask(first)).toBeGreaterThanOrEqual(whole);
  expect(ask(first)).toBeLessThan(whole / 8);
  expect(ask(buildPlan(another(goldenInput("everything"), 1)))).toBeGreaterThanOrEqual(whole);
  expect(ask(first)).toBeGreaterThanOrEqual(whole);
  alike.forget();
  expect(ask(first)).toBeGreaterThanOrEqual(whole);
  // Its program would be in the foreground, or run on another architecture, or with other fds.
  const foreground = first.steps.map((step) =>
    step.kind === "begin-keeper" ? { ...step, args: { foreground: !step.args.foreground } } : step,
  );
  expect(ask({ ...first, steps: foreground })).toBeGreaterThanOrEqual(whole);
});

test("each step of a plan may be another: what is not in its place is compiled anew", () => {
  const [one, other] = ["everything", "default"].map((name) => buildPlan(another(goldenInput(name), 1)));
  if (one === undefined || other === undefined) throw new Error("there is none");
  const alike = new AlikePrograms();
  for (const base of [one, other])
    for (const index of base.steps.keys()) {
      if (base.steps[index]?.phase === "host") continue;
      const steps = base.steps.map((step, at) => (at === index ? changed(step) : step));
      if (!compiles({ ...base, steps })) continue;
      for (const plan of [base, { ...base, steps }, base])
        expectSame(alike.compile(of(plan), ARCH, handedFds(plan), FILTER).image, plan);
    }
});

/** Not where what a step needs is no longer before it. */
function compiles(plan: LaunchPlan): boolean {
  try {
    return compiler.compile(plan, ARCH, handedFds(plan), FILTER).image.size > 0;
  } catch {
    return false;
  }
}

/** All that can be another text or list in it is: longer, or empty. */
function changed(step: Step): Step {
  const args = Object.entries(step.args).map(([key, value]) => {
    if (["path", "text", "hostname", "target"].includes(key) && typeof value === "string")
      return [key, `${value}/and/more`];
    if (["argv", "environment", "options", "capabilities"].includes(key) && Array.isArray(value))
      return [key, [...value, "a=b"]];
    if (["uid", "owner", "mode", "mask"].includes(key) && typeof value === "number") return [key, value + 1];
    return [key, value];
  });
  return { ...step, args: Object.fromEntries(args) } as Step;
}
