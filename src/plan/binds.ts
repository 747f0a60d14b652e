import type { CustomMount } from "../spec/custom-mounts.ts";
import type { Bind } from "../spec/machine-spec.ts";
import { pathInTree } from "../spec/pivot.ts";
import type { Source } from "../spec/source.ts";
import { hostSysfs } from "./api-file-systems.ts";
import { bindKey } from "./facts.ts";
import type { PlanInput } from "./input.ts";
import { host, keeper } from "./make-step.ts";
import { temporaryDirectory } from "./overlays.ts";
import type { MountFlag, Removal, Step } from "./step.ts";

/** Sources are opened on the host before anything else is made: one that is missing costs nothing. */
export function bindSources(input: PlanInput): Step[] {
  const { spec } = input;
  return [
    ...hostSysfs(input),
    ...spec.binds.flatMap(({ value, source }, index) => {
      if (value.source === "") return temporarySource(input, index, value, source);
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

/** An empty directory that is removed with the machine. */
function temporarySource(input: PlanInput, index: number, { readOnly }: Bind, source: Source): Step[] {
  const directory = temporaryDirectory(input, `bind${index}`);
  const content = input.request.reboot === true ? "kept" : "empty";
  const flags: MountFlag[] = readOnly ? ["ro"] : [];
  const data = { path: `${directory}/data`, inside: null, recursive: false, flags, propagation: "private" } as const;
  return [
    host("make-layer", { fd: `temporary:${index}`, directory, content }, source),
    host("clone-tree", { fd: `bind:${index}`, ...data }, source),
  ];
}

export function attachBind(
  { machine }: PlanInput,
  mount: Extract<CustomMount, { kind: "bind" }>,
  remove: Removal,
): Step {
  const { value, target, source, index } = mount;
  const facts = machine.bindSources[bindKey(value)];
  const create = facts?.type === "file" ? "file" : "directory";
  return keeper("attach", { fd: `bind:${index}`, target, create, api: false, remove }, source);
}
