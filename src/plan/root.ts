import type { PlanInput } from "./input.ts";
import { host } from "./make-step.ts";
import type { MountFlag, Step } from "./step.ts";

/** A detached copy of the tree's mount, and for an ephemeral machine a directory for what it changes. */
export function openRoot({ spec, places, request }: PlanInput): Step[] {
  // A tree's own device nodes are of no use to a machine that has a /dev of its own; without a user namespace they
  // would be a way out.
  const flags: MountFlag[] = ["nodev"];
  return [
    host(
      "clone-tree",
      { fd: "root", path: spec.root.value, inside: null, recursive: true, flags, propagation: "private" },
      spec.root.source,
    ),
    ...(spec.ephemeral.value
      ? [
          host(
            "make-layer",
            { fd: "layer", directory: places.layer, content: request.reboot === true ? "kept" : "empty" },
            spec.ephemeral.source,
          ),
        ]
      : []),
  ];
}

/** The fd of what becomes the machine's `/`. */
export function rootFd({ spec }: PlanInput): string {
  return spec.ephemeral.value ? "overlay" : "root";
}
