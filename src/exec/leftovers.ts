import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { writeText } from "../host/write-text.ts";
import type { LaunchPlan, Step, StepOf } from "../plan/step.ts";
import { clearCgroup, removeCgroup, removeSharedCgroup } from "./cgroup.ts";
import { removeLayer } from "./layer.ts";
import { lockFile, treeLock, unlinkLocked } from "./lock-file.ts";
import { removeWork } from "./overlay-upper.ts";
import { claimFiles } from "./range-claim.ts";
import type { OnRelease } from "./running.ts";

/** In a record directory: the steps that leave something on the host, written before any of them is done. */
export function leftoversFile(directory: string): string {
  return `${directory}/leftovers.json`;
}

/** Which steps those are, and the texts among their arguments that it takes to undo them. */
const KINDS: ReadonlyMap<unknown, readonly string[]> = new Map<Step["kind"], readonly string[]>([
  ["lock-name", ["path"]],
  ["make-cgroup", ["path"]],
  ["make-scope", ["path"]],
  ["use-unit", ["path"]],
  ["make-layer", ["directory"]],
  ["open-upper", ["path", "work"]],
  ["claim-range", ["path"]],
  ["lock-tree", ["registry", "tree"]],
  ["lock-use", ["path"]],
]);

/** Leaves word of what there will be to clean up. */
export function announceLeftovers(directory: string, plan: LaunchPlan): void {
  const steps = plan.steps.filter(({ kind }) => KINDS.has(kind));
  writeText(leftoversFile(directory), JSON.stringify(steps));
}

export interface RemoveOptions {
  readonly onRelease?: OnRelease | undefined;
  /** What belongs to the machine and not to one boot of it stays. */
  readonly rebooting?: boolean;
}

/**
 * Undoes the host's steps of a machine whose supervisor was killed, during its launch or later, and removes its record.
 * What the keeper did it has undone itself. The caller holds the lock of the name, which stays.
 */
export function removeLeftovers(directory: string, { onRelease, rebooting = false }: RemoveOptions = {}): void {
  for (const step of readLeftovers(directory).toReversed()) {
    if (step.kind === "make-cgroup") removeSharedCgroup(step.args.path);
    if (step.kind === "make-scope") clearCgroup(step.args.path);
    if (step.kind === "use-unit") removeCgroup(join(step.args.path, "payload"));
    if (step.kind === "make-layer" && !rebooting) removeLayer(step.args.directory);
    if (step.kind === "open-upper") removeWork(step.args);
    if (step.kind === "claim-range") for (const file of claimFiles(step.args).toReversed()) removeStaleLock(file);
    if (step.kind === "lock-use") removeStaleLock(step.args.path);
    if (step.kind === "lock-tree") removeTreeLock(step.args);
  }
  removeRecord(directory, onRelease);
}

export function removeRecord(directory: string, onRelease?: OnRelease): void {
  try {
    onRelease?.(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
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

/** What announceLeftovers wrote. None: the launch did not get that far, or somebody damaged the file. */
export function readLeftovers(directory: string): readonly Step[] {
  let steps: unknown;
  try {
    steps = JSON.parse(readFileSync(leftoversFile(directory), "utf8"));
  } catch {
    return [];
  }
  return Array.isArray(steps) ? steps.filter(isAnnounced) : [];
}

function isAnnounced(step: unknown): step is Step {
  if (typeof step !== "object" || step === null || !("kind" in step) || !("args" in step)) return false;
  const { kind, args } = step;
  const texts = KINDS.get(kind);
  if (texts === undefined || typeof args !== "object" || args === null) return false;
  const values = new Map<string, unknown>(Object.entries(args));
  return texts.every((name) => typeof values.get(name) === "string");
}
