import type { CustomMount } from "../spec/custom-mounts.ts";
import { pathInTree } from "../spec/pivot.ts";
import { hostSysfs } from "./api-file-systems.ts";
import { bindKey } from "./facts.ts";
import type { PlanInput } from "./input.ts";
import { host, keeper } from "./make-step.ts";
import { removesMountPoints } from "./root.ts";
import type { MountFlag, Step } from "./step.ts";

/** Sources are opened on the host before anything else is made: one that is missing costs nothing. */
export function bindSources(input: PlanInput): Step[] {
  const { spec } = input;
  return [
    ...hostSysfs(input),
    ...spec.binds.map(({ value, source }, index) => {
      const flags: MountFlag[] = value.readOnly ? ["ro"] : [];
      const path = value.fromRoot ? spec.root.value : value.source;
      const inside = value.fromRoot ? pathInTree(spec, value.source) : null;
      // A slave: what the host mounts below it later shows inside, and nothing the other way round.
      return host(
        "clone-tree",
        { fd: `bind:${index}`, path, inside, recursive: value.recursive, flags, propagation: "slave" },
        source,
      );
    }),
  ];
}

export function attachBind(input: PlanInput, mount: Extract<CustomMount, { kind: "bind" }>): Step {
  const { value, target, source, index } = mount;
  const facts = input.machine.bindSources[bindKey(value)];
  const create = facts?.type === "file" ? "file" : "directory";
  const remove = removesMountPoints(input);
  return keeper("attach", { fd: `bind:${index}`, target, create, api: false, remove }, source);
}
