import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { LaunchPlan, Step } from "../plan/step.ts";
import { removeCgroup, removeSharedCgroup } from "./cgroup.ts";
import { lockFile, unlinkLocked } from "./lock-file.ts";

/** In a record directory: the steps that leave something on the host, written before any of them is done. */
const FILE = "leftovers.json";
const KINDS: ReadonlySet<Step["kind"]> = new Set(["make-cgroup", "make-scope", "make-layer", "claim-range"]);

/** Leaves word of what there will be to clean up. */
export function announceLeftovers(directory: string, plan: LaunchPlan): void {
  const steps = plan.steps.filter(({ kind }) => KINDS.has(kind));
  writeFileSync(join(directory, FILE), JSON.stringify(steps), { mode: 0o600 });
}

/**
 * Undoes the host's steps of a machine whose supervisor was killed, during its launch or later, and removes its record.
 * What the keeper did it has undone itself. The caller holds the lock of the name.
 */
export function removeLeftovers(directory: string): void {
  for (const step of readSteps(directory).toReversed()) {
    if (step.kind === "make-cgroup") removeSharedCgroup(step.args.path);
    if (step.kind === "make-scope") removeCgroup(step.args.path);
    if (step.kind === "make-layer") rmSync(step.args.directory, { recursive: true, force: true });
    if (step.kind === "claim-range") removeStaleLock(step.args.path);
  }
  rmSync(directory, { recursive: true, force: true });
}

function removeStaleLock(path: string): void {
  const lock = lockFile(path);
  if (lock !== null) unlinkLocked(path, lock);
}

function readSteps(directory: string): readonly Step[] {
  try {
    return JSON.parse(readFileSync(join(directory, FILE), "utf8")) as readonly Step[];
  } catch {
    return []; // its launch did not get that far, so there is nothing
  }
}
