import type { MachineSpec } from "./machine-spec.ts";

type Settings = Pick<MachineSpec, "ephemeral" | "readOnly" | "volatile">;

/**
 * What a machine's `/` is. tree: the tree itself. layer: an overlay over it, whose changes are on disk until the machine
 * ends. memory layer: the same with changes in memory. memory: a file system in memory with the tree's /usr.
 */
export type RootKind = "tree" | "layer" | "memory layer" | "memory";

export function rootKind({ ephemeral, volatile }: Pick<Settings, "ephemeral" | "volatile">): RootKind {
  if (volatile.value === "yes") return "memory";
  if (volatile.value === "overlay") return "memory layer";
  return ephemeral.value ? "layer" : "tree";
}

/** Whether the machine's `/` is to be read-only, whatever the tree is on. */
export function isRootReadOnly({ readOnly, volatile }: Pick<Settings, "readOnly" | "volatile">): boolean {
  return readOnly.value || volatile.value === "state";
}

/** Whether the machine may change its tree, if that is on a file system that can be. */
export function writesTree(spec: Settings): boolean {
  return rootKind(spec) === "tree" && !isRootReadOnly(spec);
}

/** Such a machine in words, and the setting that makes it one; null: it may change its tree. */
export function keeping(spec: Settings): { readonly machine: string; readonly setting: string } | null {
  if (spec.ephemeral.value) return { machine: "an ephemeral machine", setting: "Ephemeral=" };
  if (spec.readOnly.value) return { machine: "a read-only machine", setting: "ReadOnly=" };
  return spec.volatile.value === "no" ? null : { machine: "a volatile machine", setting: "Volatile=" };
}

/** Whether the machine's /etc can be written to. */
export function isEtcWritable(spec: Settings, treeReadOnly: boolean): boolean {
  return !isRootReadOnly(spec) && (rootKind(spec) !== "tree" || !treeReadOnly);
}
