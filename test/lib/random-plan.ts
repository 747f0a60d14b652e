/**
 * Plans of machines that nobody thought of: settings put together at random from those of the golden plans, whatever
 * they are, with the facts that these were written for.
 *
 *   const settings = randomMachine(generator(7));      // { text, changes }: always the same for a seed
 *   const plan = planOf(settings);                     // undefined: such a machine is refused, with reasons
 *   checkPlan(plan);                                   // throws where the plan or its program is not sound
 */
import { expect } from "vitest";
import { compile } from "../../src/exec/compile.ts";
import { buildPlan } from "../../src/plan/build.ts";
import { describe } from "../../src/plan/describe.ts";
import { checkPreconditions } from "../../src/plan/preconditions.ts";
import { planText } from "../../src/plan/show.ts";
import type { LaunchPlan } from "../../src/plan/step.ts";
import { undoOf } from "../../src/plan/undo.ts";
import { type Changes, GOLDENS, goldenChanges, goldenSettings, inputOf } from "../golden/inputs.ts";
import { BASE, DecodedImage, handedFds } from "../unit/exec/image.ts";
import { deadlocks, namelessFds, unpairedSyncs } from "../unit/plan/actors.ts";
import { RefusedSettings } from "./launch.ts";

export interface RandomMachine {
  /** A settings file. */
  readonly text: string;
  readonly changes: Changes;
}

type Below = (limit: number) => number;

const SOURCES = GOLDENS.map((golden) => ({
  lines: settingsLines(goldenSettings(golden)),
  changes: goldenChanges(golden),
}));

/** Parts of one to four golden machines, and some lines of its own. */
export function randomMachine(below: Below): RandomMachine {
  const chosen = Array.from({ length: 1 + below(4) }, () => SOURCES[below(SOURCES.length)]).filter(
    (each) => each !== undefined,
  );
  const lines = chosen.flatMap(({ lines }) => lines.filter(() => below(4) > 0));
  const own = Array.from({ length: below(6) }, () => ownLine(below));
  return {
    text: `${[...lines, ...own].join("\n")}\n`,
    changes: merged(
      chosen.map(({ changes }) => changes),
      below,
    ),
  };
}

/** Each with its section, so that they can be mixed. */
function settingsLines(text: string): readonly string[] {
  let section = "";
  return text.split("\n").flatMap((line) => {
    if (line.startsWith("[")) section = line;
    return /^[A-Za-z]+=/.test(line) ? [`${section}\n${line}`] : [];
  });
}

const LETTERS = [..."abzAZ09-_.,:;/\\%$#=~@ ", "é", "𝄞", "\t", '"', "'"];

function ownLine(below: Below): string {
  const word = (limit: number): string =>
    Array.from({ length: 1 + below(limit) }, () => LETTERS[below(LETTERS.length)] ?? "").join("");
  const path = (): string => `/${"abcd"[below(4)]}${"/e/../f".slice(0, below(8))}`;
  const lines = [
    () => `[Exec]\nEnvironment=R${below(9)}="${word(30).replaceAll('"', "")}"`,
    () => `[Exec]\nParameters="${word(30).replaceAll('"', "")}"`,
    () => `[Exec]\nHostname=${"h-0".repeat(1 + below(8))}`,
    () => `[Files]\nBind=${path()}:${path()}${["", ":idmap", ":norbind", ":rootidmap", ":owneridmap"][below(5)]}`,
    () => `[Files]\nBindReadOnly=+${path()}:${path()}`,
    () => `[Exec]\nPrivateUsers=${["no", "yes", "pick", "identity", "0", "65536:65536", "131072:1"][below(7)]}`,
    () => `[Network]\nPrivate=${["yes", "no"][below(2)]}`,
    () => `[Exec]\nEphemeral=${["yes", "no"][below(2)]}`,
    () => `[Files]\nReadOnly=${["yes", "no"][below(2)]}`,
    () => `[Files]\nVolatile=${["yes", "no", "state", "overlay"][below(4)]}`,
    () => `[Exec]\nProcessTwo=${["yes", "no"][below(2)]}`,
  ];
  return lines[below(lines.length)]?.() ?? "";
}

function merged(all: readonly Changes[], below: Below): Changes {
  const facts = <K extends "host" | "tree" | "machine" | "request">(key: K): Changes[K] =>
    Object.assign({}, ...all.map((changes) => changes[key] ?? {})) as Changes[K];
  const command = all.flatMap((changes) => changes.command ?? []);
  return {
    name: "random",
    options: all.flatMap((changes) => changes.options ?? []),
    ...(command.length > 0 ? { command } : {}),
    boot: below(2) === 0,
    host: facts("host") ?? {},
    tree: facts("tree") ?? {},
    machine: facts("machine") ?? {},
    request: facts("request") ?? {},
  };
}

/** @throws what berth throws that is no refusal: a bug */
export function planOf({ text, changes }: RandomMachine): LaunchPlan | undefined {
  let input: ReturnType<typeof inputOf>;
  try {
    input = inputOf("random", text, changes);
  } catch (error) {
    if (error instanceof RefusedSettings) return undefined;
    throw error;
  }
  return checkPreconditions(input).length > 0 ? undefined : buildPlan(input);
}

/** Of the shortest filter there is; what a filter holds is the business of its own tests. */
const FILTER = Buffer.from("0600000000000500", "hex");
/** What lies in the image's neighbourhood is meant to be in it. */
const NEIGHBOURHOOD = 1n << 32n;

export function checkPlan(plan: LaunchPlan): void {
  expect(unpairedSyncs(plan)).toEqual([]);
  expect(namelessFds(plan)).toEqual([]);
  expect(deadlocks(plan)).toEqual([]);
  for (const step of plan.steps)
    for (const text of [describe(step), undoOf(step)])
      expect(text, step.kind).not.toMatch(/undefined|NaN|\[object|^$|\p{Cc}/u);
  expect(planText(JSON.parse(JSON.stringify(plan)) as LaunchPlan)).toBe(planText(plan));
  for (const arch of ["x64", "arm64"] as const) {
    const decoded = new DecodedImage(compile(plan, arch, handedFds(plan), FILTER).image);
    for (const program of decoded.programs())
      for (const op of program.ops)
        for (let index = 0; index < 6; index++) {
          const value = decoded.plain(op, index) ?? 0n;
          if (value >= BASE && value < BASE + NEIGHBOURHOOD)
            expect(decoded.isAddress(value), `call ${op.number}`).toBe(true);
        }
  }
}
