import { error, type Problem } from "../spec/problem.ts";
import { isRootReadOnly, rootKind } from "../spec/root-kind.ts";
import type { StorageFacts } from "./facts.ts";
import type { PlanInput } from "./input.ts";
import { apivfs, host } from "./make-step.ts";
import { mapTree, ownership } from "./owners.ts";
import type { FdName, Step } from "./step.ts";

/**
 * A machine whose image is a stack of layers: its root is an overlay, which the machine's own root puts together, so that
 * what it changes lands in the stack with the ids that are on disk. Who is not to change anything has what was written as
 * one more layer, and writes to memory what has to be written: mount points.
 */
type StackFacts = Extract<StorageFacts, { kind: "stack" }>;

const RW = "rw";

export function isStack({ machine }: PlanInput): boolean {
  return machine.storage.kind === "stack";
}

/** Whether the machine's `/` is an overlay for that reason alone. */
export function isStackRoot(input: PlanInput): boolean {
  return isStack(input) && rootKind(input.spec) === "tree";
}

export function isStackReadOnly({ spec, machine }: PlanInput): boolean {
  return isRootReadOnly(spec) || machine.tree.readOnly;
}

/** What the overlay of the root is written to. Null: memory. */
export function stackUpper(input: PlanInput): FdName | null {
  return isStackReadOnly(input) ? null : RW;
}

interface Part {
  readonly fd: FdName;
  readonly path: string;
}

/** Topmost first. */
function lowerParts(input: PlanInput, { layers, rw }: StackFacts): readonly Part[] {
  const written = rootKind(input.spec) === "tree" && stackUpper(input) !== null;
  const data = rw === null || written ? [] : [{ fd: "data", path: `${rw}/data` }];
  return [...data, ...layers.map((path, index) => ({ fd: `layer:${layers.length - 1 - index}`, path }))];
}

function partsOf(input: PlanInput): readonly Part[] {
  const { storage } = input.machine;
  return storage.kind === "stack" ? lowerParts(input, storage) : [];
}

/** The layers of an overlay of the tree, topmost first. */
export function lowerFds(input: PlanInput): FdName[] {
  return isStack(input) ? partsOf(input).map(({ fd }) => fd) : ["root"];
}

export function openStack(input: PlanInput): Step[] {
  const { spec, machine } = input;
  if (machine.storage.kind !== "stack") return [];
  const open = (fd: FdName, path: string, flags: ("ro" | "nodev")[], inside: string | null): Step =>
    host(
      "clone-tree",
      { fd, path, inside, recursive: false, flags, propagation: "private" },
      inside === null ? spec.root.source : spec.volatile.source,
    );
  const { rw } = machine.storage;
  if (rootKind(spec) === "memory")
    return usrRoots(input).map((path, index) => open(usrFds(input)[index] ?? USR, path, ["nodev", "ro"], "/usr"));
  const written = rootKind(spec) === "tree" && rw !== null && stackUpper(input) !== null;
  return [
    ...partsOf(input).map(({ fd, path }) => open(fd, path, ["nodev", "ro"], null)),
    ...(written ? [open(RW, rw, ["nodev"], null)] : []),
  ];
}

/** Every layer has its owners on disk in the same block. */
export function mapStack(input: PlanInput): Step[] {
  const { spec } = input;
  const fds =
    rootKind(spec) === "memory"
      ? usrFds(input)
      : [...lowerFds(input), ...(rootKind(spec) === "tree" && stackUpper(input) !== null ? [RW] : [])];
  return fds.flatMap((fd) => mapTree(input, fd, false, spec.privateUsers));
}

const USR = "usr";

function usrRoots(input: PlanInput): readonly string[] {
  return input.machine.usr?.roots ?? partsOf(input).map(({ path }) => path);
}

/** Of Volatile=yes: /usr of each layer that has one. */
function usrFds(input: PlanInput): readonly FdName[] {
  const roots = usrRoots(input);
  return roots.length === 1 ? [USR] : roots.map((_, index) => `${USR}:${roots.length - 1 - index}`);
}

/** Whether /usr has to be put together of more than one. */
export function combinesUsr(input: PlanInput): boolean {
  return isStack(input) && rootKind(input.spec) === "memory" && usrRoots(input).length > 1;
}

export function combineUsr(input: PlanInput): Step[] {
  if (!combinesUsr(input)) return [];
  const lower = [...usrFds(input)];
  return [
    apivfs("combine-layers", { fd: USR, lower, upper: null, flags: ["ro", "nodev"] }, input.spec.volatile.source),
  ];
}

/** What a tree can do that is in one directory of the host, and a stack can't. */
export function stackFits(input: PlanInput): readonly Problem[] {
  const { spec, machine } = input;
  const { storage, tree } = machine;
  if (storage.kind !== "stack") return [];
  const image = spec.root.value;
  const hint = "berth clone --driver=directory makes a plain directory of it";
  const ofTree = [
    ...spec.binds.filter(({ value }) => value.fromRoot).map(({ source }) => ({ source, what: "Bind= of its own" })),
    ...spec.overlays
      .filter(({ value: { lower, upper } }) => [...lower, upper].some((layer) => layer?.fromRoot === true))
      .map(({ source }) => ({ source, what: "Overlay= of its own" })),
  ];
  return [
    ...ofTree.map(({ source, what }) =>
      error(source, `${image} is a stack of layers: ${what} directories can't be had`, hint),
    ),
    ...(spec.pivotRoot.value === undefined
      ? []
      : [error(spec.pivotRoot.source, `${image} is a stack of layers, of which PivotRoot= can't take a part`, hint)]),
    ...(ownership(input) === "chown" && storage.layers.length > 0
      ? [error(spec.ownership.source, `${image} is a stack of layers, whose owners can't be changed`, hint)]
      : []),
    ...(tree.fsType === "overlay" && stackUpper(input) !== null
      ? [error(spec.root.source, `${image} is on an overlay, which can't keep what is written to another one`, hint)]
      : []),
  ];
}
