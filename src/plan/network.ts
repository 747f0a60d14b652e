import { SYSFS } from "./api-file-systems.ts";
import type { PlanInput } from "./input.ts";
import { host, keeper } from "./make-step.ts";
import type { Step } from "./step.ts";

/** NamespacePath=: opened before anything else is made. */
export function networkSource({ spec }: PlanInput): Step[] {
  const { value: path, source } = spec.networkNamespace;
  return path === undefined ? [] : [host("open-network", { fd: "network", path }, source)];
}

/**
 * The keeper enters it, and init is cloned there: only who has rights over the namespace may, and init has none any more.
 * For the same reason the keeper makes the sysfs that shows its interfaces, where the machine has a user namespace.
 */
export function joinNetwork({ spec }: PlanInput): Step[] {
  const { value: path, source } = spec.networkNamespace;
  if (path === undefined) return [];
  const { fd, type, options, flags } = SYSFS;
  const own = spec.privateUsers.value.mode === "no";
  return [
    keeper("join-network", { fd: "network" }, source),
    ...(own ? [] : [keeper("make-file-system", { fd, type, options: [...options], flags: [...flags] }, source)]),
  ];
}
