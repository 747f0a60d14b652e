import { writesTree } from "../spec/root-kind.ts";
import type { PlanInput } from "./input.ts";
import { host, keeper } from "./make-step.ts";
import { mapTree } from "./owners.ts";
import { removesMountPoints } from "./root.ts";
import type { LaunchPlan, Step } from "./step.ts";

const FD = "old-root";

/** PivotRoot=: the whole tree, which a directory of it is the root of, in a place of its own. */
export function openOldRoot({ spec }: PlanInput): Step[] {
  const { value, source } = spec.pivotRoot;
  if (value === undefined || value.oldRoot === null) return [];
  return [
    host(
      "clone-tree",
      {
        fd: FD,
        path: spec.root.value,
        inside: null,
        recursive: true,
        flags: writesTree(spec) ? ["nodev"] : ["nodev", "ro"],
        propagation: "private",
      },
      source,
    ),
  ];
}

export function mapOldRoot(input: PlanInput): Step[] {
  const { pivotRoot } = input.spec;
  return pivotRoot.value?.oldRoot == null ? [] : mapTree(input, FD, true, pivotRoot);
}

export function attachOldRoot(input: PlanInput): Step[] {
  const { value, source } = input.spec.pivotRoot;
  if (value === undefined || value.oldRoot === null) return [];
  const remove = removesMountPoints(input);
  return [keeper("attach", { fd: FD, target: value.oldRoot, create: "directory", api: false, remove }, source)];
}

/** The directory of its tree that is a running machine's root. */
export function rootOf({ steps }: LaunchPlan): string {
  for (const step of steps)
    if (step.kind === "clone-tree" && step.args.fd === "root" && step.args.inside !== null) return step.args.inside;
  return "/";
}
