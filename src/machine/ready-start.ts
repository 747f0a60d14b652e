import { BerthError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import type { PlanRequest } from "../plan/input.ts";
import type { LaunchPlan } from "../plan/step.ts";
import { recordIn } from "./ended-boot.ts";
import { findBoot } from "./find-boot.ts";
import { knownBoots } from "./history.ts";
import type { KeptFacts, Prepared } from "./prepare.ts";
import { type MachineRecord, planOfBoot } from "./record.ts";

/** A start by berthd that became ready. */
export interface ReadyStart {
  readonly boot: number;
  readonly record: MachineRecord;
  readonly plan: LaunchPlan;
}

/** The last one. @throws BerthError when none is kept */
export function lastReadyStart(name: string, paths: Paths): ReadyStart {
  findBoot(name, undefined, paths); // says what there is not, or who may not know
  for (const { boot, directory } of knownBoots(name, paths)) {
    const record = recordIn(directory, name);
    if (record === null || !record.managed || !record.ready) continue;
    const plan = planOfBoot(directory);
    if (plan !== null) return { boot, record, plan };
  }
  throw new BerthError(`of machine ${name} no start by berthd is kept that became ready`, {
    kind: "NoSuchMachine",
    hint: `berth why ${name} says what became of the last one`,
  });
}

/** Plans as that start was planned, but by what the settings, the tree and the host say now. */
export function planAgain(
  prepared: Prepared,
  { record, plan }: Pick<ReadyStart, "record" | "plan">,
): ReturnType<Prepared["plan"]> {
  const rebooted = plan.steps.some((step) => step.kind === "make-layer" && step.args.content === "kept");
  const request: PlanRequest = { foreground: false, stdio: "console", term: null, reboot: rebooted };
  const picks = prepared.spec.privateUsers.value.mode === "pick" && record.uidShift !== null;
  const had: KeptFacts = { randomId: record.machineId, ...(picks ? { rangeBase: record.uidShift } : {}) };
  return prepared.plan(request, had);
}
