import { BerthError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { describe } from "../plan/describe.ts";
import { showSource } from "../spec/source.ts";
import { runIn } from "./capture.ts";
import { recordIn } from "./ended-boot.ts";
import { findBoot } from "./find-boot.ts";
import { knownBoots } from "./history.ts";
import { type MachineRecord, planOfBoot, readRecord, type StartedPlan } from "./record.ts";
import {
  MANAGER_PROPERTIES,
  type ManagerTimes,
  managerTimes,
  UNIT_PROPERTIES,
  type UnitTime,
  unitTimes,
} from "./unit-times.ts";

/** Part of a boot; ms since it began. */
export interface Span {
  /** step: of the host's plan. phase: of a systemd's own boot. unit: of that. */
  readonly kind: "prepare" | "step" | "phase" | "unit";
  readonly name: string;
  readonly start: number;
  /** Null: it has not ended, or nobody knows when. */
  readonly end: number | null;
  /** Of a step. */
  readonly index: number | null;
  /** `file:line` of the setting that asked for it, or `default`. */
  readonly source: string | null;
}

/** From the call to readiness. Null: not known, or not there yet. */
export interface BootTimeline {
  readonly machine: string;
  /** 0: that which runs, -1: the last one that ended, ... */
  readonly boot: number;
  /** ISO 8601. */
  readonly began: string;
  readonly init: string | null;
  /** ms since it began. */
  readonly executed: number;
  readonly ready: number | null;
  readonly spans: readonly Span[];
  /** The same of the boot before. */
  readonly before: { readonly executed: number; readonly ready: number | null } | null;
  /** Why nothing is known of what its init did. */
  readonly problem: string | null;
}

/** @throws BerthError when nothing is known of that boot */
export async function bootTimeline(name: string, wanted: number | undefined, paths: Paths): Promise<BootTimeline> {
  const { boot, directory } = findBoot(name, wanted, paths);
  const record = recordIn(directory, name);
  if (record === null)
    throw new BerthError(`${directory}/record.json is missing or damaged: nothing is known of that boot`);
  const plan = planOfBoot(directory);
  const inside = await inner(record, boot, paths);
  const earlier = knownBoots(name, paths).find((each) => each.boot === boot - 1);
  return {
    ...{ machine: name, boot, began: new Date(record.times.began).toISOString(), init: record.init },
    ...milestones(record, plan),
    spans: [...hostSpans(plan), ...insideSpans(record, plan, inside)],
    before: earlier === undefined ? null : milestonesIn(earlier.directory, name),
    problem: inside.problem,
  };
}

function milestonesIn(directory: string, name: string): BootTimeline["before"] {
  const record = recordIn(directory, name);
  return record === null ? null : milestones(record, planOfBoot(directory));
}

function milestones(
  { times: { began, executed, ready } }: MachineRecord,
  plan: StartedPlan | null,
): { readonly executed: number; readonly ready: number | null } {
  // The plan's time is finer.
  const launch = plan?.trace?.executed ?? executed - began;
  return { executed: launch, ready: ready === null ? null : round(launch + Math.max(0, ready - executed)) };
}

/** To a microsecond. */
function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

function hostSpans(plan: StartedPlan | null): readonly Span[] {
  if (plan?.trace === undefined) return [];
  const { prepared, ended } = plan.trace;
  const spans: Span[] = [
    {
      kind: "prepare",
      name: "read settings and facts, make the plan",
      start: -prepared,
      end: 0,
      index: null,
      source: null,
    },
  ];
  let start = 0;
  plan.steps.forEach((step, index) => {
    const end = ended[index] ?? null;
    if (end === null) return;
    spans.push({ kind: "step", name: describe(step), start, end, index, source: showSource(step.source) });
    start = end;
  });
  return spans;
}

interface Inside extends ManagerTimes {
  readonly units: readonly UnitTime[];
  readonly problem: string | null;
}

const NOTHING: Inside = { phases: [], finished: null, units: [], problem: null };
const TIME_MS = 10_000;
const BYTES = 4 << 20;

/** Only systemd keeps times, and only while it runs. */
async function inner(record: MachineRecord, boot: number, paths: Paths): Promise<Inside> {
  if (record.init !== "systemd") return NOTHING;
  if (boot !== 0) return { ...NOTHING, problem: "when its units were started its systemd alone knew" };
  const running = readRecord(record.name, paths);
  if (running === null || running.state === "rebooting") return { ...NOTHING, problem: "it does not run any more" };
  const ask = async (...words: readonly string[]): Promise<string> => {
    const answer = await runIn(running, ["systemctl", "show", ...words], paths, {
      time: TIME_MS,
      bytes: BYTES,
      stderr: false,
    });
    if (answer === undefined) throw new BerthError("there is no systemctl in it");
    if (answer.status !== 0) throw new BerthError("its systemd does not answer");
    return answer.said;
  };
  try {
    const manager = managerTimes(await ask(`--property=${MANAGER_PROPERTIES}`));
    return { ...manager, units: unitTimes(await ask(`--property=${UNIT_PROPERTIES}`, "*")), problem: null };
  } catch (error) {
    if (error instanceof BerthError) return { ...NOTHING, problem: error.message };
    throw error;
  }
}

/** Its clock is the host's, by which berth noted the execution. What was started when its boot was over is no part of that. */
function insideSpans(
  { times }: MachineRecord,
  plan: StartedPlan | null,
  { phases, units, finished }: Inside,
): readonly Span[] {
  const launch = plan?.trace?.executed ?? times.executed - times.began;
  const since = (ms: number): number => Math.max(launch, round(ms - times.executedMonotonic + launch));
  const span = (kind: "phase" | "unit", { name, began, ended }: UnitTime): Span => ({
    ...{ kind, name, index: null, source: null },
    ...{ start: since(began), end: ended === null ? null : since(ended) },
  });
  return [
    ...phases.map((phase) => span("phase", phase)),
    ...units.filter(({ began }) => finished === null || began <= finished).map((unit) => span("unit", unit)),
  ];
}
