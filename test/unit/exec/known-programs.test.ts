import { expect, test } from "vitest";
import { compile } from "../../../src/exec/compile.ts";
import { KnownPrograms } from "../../../src/exec/known-programs.ts";
import { buildPlan } from "../../../src/plan/build.ts";
import { buildJoin } from "../../../src/plan/join.ts";
import type { LaunchPlan } from "../../../src/plan/step.ts";
import { goldenInput } from "../../golden/inputs.ts";
import { handedFds } from "./image.ts";

const FILTER = Buffer.from("200000000400000006000000000000000600000000ff7f00", "hex");
const started = buildPlan(goldenInput("default"));

function command(argv: readonly string[], startTime = "1"): LaunchPlan {
  const target = { machine: "m", pid: 7, startTime, cgroup: "/sys/fs/cgroup/m", plan: started };
  const request = { argv, candidates: argv, environment: [], directory: "/", user: null, stdio: "caller" } as const;
  return buildJoin(target, request);
}

test("a command that was compiled before is known again, and only that one", () => {
  const known = new KnownPrograms(2);
  const ask = (plan: LaunchPlan, filter = FILTER, arch: "x64" | "arm64" = "x64"): unknown =>
    known.compile(plan, arch, handedFds(plan), filter);
  const first = ask(command(["/bin/true"]));
  expect(first).toEqual(compile(command(["/bin/true"]), "x64", handedFds(command(["/bin/true"])), FILTER));
  expect(ask(command(["/bin/true"]))).toBe(first);
  // The machine is held by the host: another boot of it changes nothing of the program.
  expect(ask(command(["/bin/true"], "2"))).toBe(first);
  expect(ask(command(["/bin/false"]))).not.toBe(first);
  expect(ask(command(["/bin/true"]))).toBe(first);
  expect(ask(command(["/bin/true"]), Buffer.concat([FILTER, FILTER]))).not.toBe(first);
  expect(ask(command(["/bin/true"]))).toBe(first);
  expect(ask(command(["/bin/true"]), FILTER, "arm64")).not.toBe(first);
  const more = handedFds(command(["/bin/true"]));
  const named = new Map([...more.named].map(([name, fd]) => [name, fd + 1]));
  expect(known.compile(command(["/bin/true"]), "x64", { ...more, named }, FILTER)).not.toBe(first);
});

test("those that were not used for longest are forgotten, and what is long is not kept", () => {
  const known = new KnownPrograms(2);
  const ask = (word: string): unknown => known.compile(command([word]), "x64", handedFds(command([word])), FILTER);
  const [a, b] = [ask("/a"), ask("/b")];
  expect(ask("/a")).toBe(a);
  ask("/c");
  expect(ask("/a")).toBe(a);
  expect(ask("/b")).not.toBe(b);
  const long = `/${"x".repeat(40_000)}`;
  expect(ask(long)).not.toBe(ask(long));
});
