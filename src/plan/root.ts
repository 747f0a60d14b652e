import { isRootReadOnly, rootKind, writesTree } from "../spec/root-kind.ts";
import type { Source } from "../spec/source.ts";
import { attachDisk, isDisk, makeDiskLayers, openDisk } from "./disk.ts";
import type { PlanInput } from "./input.ts";
import { host, keeper } from "./make-step.ts";
import { isStack, isStackReadOnly, isStackRoot, openStack } from "./stack.ts";
import type { MountFlag, Step } from "./step.ts";
import { fillMemory, makeMemory, mountState, openUsr } from "./volatile.ts";

/** One machine at a time may write to a tree, and nobody does while others count on its staying as it is. */
export function lockTree({ spec, machine, places }: PlanInput): Step[] {
  const { root, ephemeral } = spec;
  // Whoever reads a disk image counts on its blocks.
  if (machine.storage.kind === "disk") {
    const lock = { tree: root.value, registry: places.trees, shared: !writesTree(spec) || machine.tree.readOnly };
    return [host("lock-tree", lock, root.source)];
  }
  if (ephemeral.value || machine.tree.readOnly) return [];
  return [host("lock-tree", { tree: root.value, registry: places.trees, shared: !writesTree(spec) }, root.source)];
}

/** A detached copy of the tree's mount, and for an ephemeral machine a directory for what it changes. */
export function openRoot(input: PlanInput): Step[] {
  const kind = rootKind(input.spec);
  return [...openTree(input), ...(kind === "layer" ? makeLayer(input) : []), ...makeDiskLayers(input)];
}

function openTree(input: PlanInput): Step[] {
  if (isStack(input)) return openStack(input);
  if (isDisk(input)) return openDisk(input);
  return rootKind(input.spec) === "memory" ? openUsr(input) : cloneTree(input);
}

function cloneTree(input: PlanInput): Step[] {
  const { spec, machine } = input;
  const inside = spec.pivotRoot.value?.newRoot ?? null;
  const locked = rootKind(spec) === "tree" && isRootReadOnly(spec);
  // A tree's own device nodes are of no use to a machine that has a /dev of its own; without a user namespace they
  // would be a way out.
  const flags: MountFlag[] = locked && machine.tree.readOnly ? ["nodev", "ro"] : ["nodev"];
  return [
    host(
      "clone-tree",
      { fd: "root", path: spec.root.value, inside, recursive: true, flags, propagation: "private" },
      spec.root.source,
    ),
    ...(locked && !machine.tree.readOnly
      ? [host("lock-submounts", { fd: "root", flags: ["ro"] }, readOnlySource(input))]
      : []),
  ];
}

function makeLayer({ spec, places, request }: PlanInput): Step[] {
  const content = request.reboot === true ? "kept" : "empty";
  return [host("make-layer", { fd: "layer", directory: places.layer, content }, spec.ephemeral.source)];
}

/** The `/` that everything else is mounted in. */
export function attachRoot(input: PlanInput): Step[] {
  const fd = {
    tree: isStack(input) ? "overlay" : "root",
    layer: "overlay",
    "memory layer": "overlay",
    memory: "memory",
  }[rootKind(input.spec)];
  return [
    ...makeMemory(input),
    keeper("attach-root", { fd }, input.spec.root.source),
    ...fillMemory(input),
    ...attachDisk(input),
    ...mountState(input),
  ];
}

/** Last of all: the mount points that the tree lacks have been made by then. */
export function lockRoot(input: PlanInput): Step[] {
  const { spec, machine } = input;
  const stack = isStackRoot(input) && isStackReadOnly(input);
  if (!stack && (!isRootReadOnly(spec) || (rootKind(spec) === "tree" && machine.tree.readOnly))) return [];
  return [keeper("set-read-only", { path: "/" }, readOnlySource(input))];
}

/**
 * Whether mount points made in the tree are taken away again. In one that several machines share they stay: where one
 * goes that another has something mounted on, the kernel unmounts that.
 */
export function removesMountPoints({ spec }: PlanInput): boolean {
  return writesTree(spec);
}

function readOnlySource({ spec }: PlanInput): Source {
  return (spec.readOnly.value ? spec.readOnly : spec.volatile).source;
}
