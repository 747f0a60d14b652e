import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { LaunchPlan, Step } from "../plan/step.ts";
import { removeCgroup, removeSharedCgroup } from "./cgroup.ts";
import { lockFile, unlinkLocked } from "./lock-file.ts";

/** In a record directory: the plan its machine was started by, written before anything else is made. */
export const PLAN_FILE = "plan.json";

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
    return (JSON.parse(readFileSync(join(directory, PLAN_FILE), "utf8")) as LaunchPlan).steps;
  } catch {
    return []; // its launch did not get that far, so there is nothing
  }
}
