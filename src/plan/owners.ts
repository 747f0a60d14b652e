import type { Source, Sourced } from "../spec/source.ts";
import { BLOCK, diskBase } from "./id-blocks.ts";
import { idRange, type PlanInput, rootId } from "./input.ts";
import { host } from "./make-step.ts";
import type { IdMapping, Step } from "./step.ts";

/**
 * Which owners the tree has on disk, and how they become the machine's: PrivateUsersOwnership=.
 *
 * A tree has its owners in one block of ids, which its root directory tells. Mapping shows that block as the machine's
 * range; chown moves it there for good.
 */
export type Ownership = "off" | "map" | "chown";

/** What PrivateUsersOwnership= comes to here. Null: the machine has the host's users, and it means nothing. */
export function ownership({ spec, host: facts, machine }: PlanInput): Ownership | null {
  if (spec.privateUsers.value.mode === "no") return null;
  const { value } = spec.ownership;
  if (value !== "auto") return value;
  return canMap(machine.tree.fsType, facts.kernel.version) ? "map" : "chown";
}

/**
 * File systems that have no mounts with mapped ids (FS_ALLOW_IDMAP in the kernel), or had none before a version. One
 * that is not known is tried: a chown changes the tree, and a mount that is refused says so.
 */
const UNMAPPED: ReadonlyMap<string, readonly [number, number] | null> = new Map([
  ["overlay", null],
  ["nfs", null],
  ["nfs4", null],
  ["cifs", null],
  ["smb3", null],
  ["9p", null],
  ["ecryptfs", null],
  ["aufs", null],
  ["ramfs", null],
  ["tmpfs", [6, 3]],
  ["squashfs", [6, 2]],
]);

export function canMap(fsType: string, [major, minor]: readonly [number, number]): boolean {
  const since = UNMAPPED.get(fsType);
  if (since === undefined) return true;
  return since !== null && (major > since[0] || (major === since[0] && minor >= since[1]));
}

/** Why not, to follow what can't be had. */
export function unmappedHint(fsType: string): string {
  const since = UNMAPPED.get(fsType);
  const from = since === undefined || since === null ? "" : ` before Linux ${since.join(".")}`;
  return `a file system of type ${fsType} can't map ids${from}`;
}

/** Who is to have on disk what the machine's root is to have in the tree. */
export function diskRoot(input: PlanInput): number {
  return ownership(input) === "map" ? (diskBase(input.machine.tree) ?? 0) : rootId(input);
}

/** The id that a file of the tree belongs to on disk when the machine starts. */
export function ownerOnDisk(input: PlanInput, owner: number): number {
  const range = idRange(input);
  return range !== null && ownership(input) === "chown" ? range.base + (owner % BLOCK) : owner;
}

/** The host's id that such a file has in the machine. */
export function hostOwner(input: PlanInput, owner: number): number {
  const disk = diskBase(input.machine.tree);
  if (ownership(input) !== "map" || disk === null) return ownerOnDisk(input, owner);
  return rootId(input) + owner - disk;
}

/** Whether the tree's owners already are the machine's as they are. */
export function isOwned(input: PlanInput): boolean {
  return diskBase(input.machine.tree) === (idRange(input)?.base ?? 0);
}

/** The whole tree's owners on disk, where they are to be others than they are. */
export function chownTree(input: PlanInput): Step[] {
  const range = idRange(input);
  if (range === null || ownership(input) !== "chown" || isOwned(input)) return [];
  const { root } = input.spec;
  return [host("chown-tree", { path: root.value, base: range.base }, ownershipSource(input))];
}

/** The tree's own mount, and what it is also seen by: the binds of its own paths. */
export function mapTree(input: PlanInput, fd: string, recursive: boolean, { source }: Sourced<unknown>): Step[] {
  const range = idRange(input);
  const disk = diskBase(input.machine.tree);
  if (range === null || disk === null || ownership(input) !== "map") return [];
  // A range from 0 on is mapped all the same: ids beyond it are nobody's then, on disk too.
  if (disk === range.base && disk !== 0) return [];
  const lines = [{ disk, host: range.base, count: Math.min(range.size, BLOCK) }];
  const mapping: IdMapping | null = disk === 0 ? null : { uids: lines, gids: lines };
  return [host("map-owners", { fd, recursive, mapping }, source)];
}

function ownershipSource({ spec }: PlanInput): Source {
  return (spec.ownership.source.from === "default" ? spec.privateUsers : spec.ownership).source;
}
