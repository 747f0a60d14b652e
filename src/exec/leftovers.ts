import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { removeTree } from "../host/remove-tree.ts";
import type { LaunchPlan, Step, StepOf } from "../plan/step.ts";
import { removeCgroup, removeSharedCgroup } from "./cgroup.ts";
import { lockFile, treeLock, unlinkLocked } from "./lock-file.ts";

/** In a record directory: the steps that leave something on the host, written before any of them is done. */
const FILE = "leftovers.json";
const KINDS: ReadonlySet<Step["kind"]> = new Set([
  "make-cgroup",
  "make-scope",
  "make-layer",
  "claim-range",
  "lock-tree",
]);

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
    if (step.kind === "make-layer") removeTree(step.args.directory);
    if (step.kind === "claim-range") removeStaleLock(step.args.path);
    if (step.kind === "lock-tree") removeTreeLock(step.args);
  }
  rmSync(directory, { recursive: true, force: true });
}

function removeStaleLock(path: string): void {
  const lock = lockFile(path);
  if (lock !== null) unlinkLocked(path, lock);
}

function removeTreeLock({ registry, tree }: StepOf<"lock-tree">["args"]): void {
  let path: string;
  try {
    path = treeLock(registry, tree);
  } catch {
    return; // the tree is gone, and with it who would lock it
  }
  removeStaleLock(path);
}

function readSteps(directory: string): readonly Step[] {
  try {
    return JSON.parse(readFileSync(join(directory, FILE), "utf8")) as readonly Step[];
  } catch {
    return []; // its launch did not get that far, so there is nothing
  }
}
