import type { TreeFacts } from "./facts.ts";

/** Owners on disk lie in one block of 2^16 ids: from 0 on, or from the base that a tree was chowned to. */
export const BLOCK = 65536;

/** While systemd-nspawn's chown or ours is under way the tree's root directory is of this block. */
export const BUSY_BLOCK = 0xfffe0000;

/** First id of the block that an owner is in. */
export function blockOf(id: number): number {
  return id - (id % BLOCK);
}

/** First id of the tree's owners on disk; null: its root directory belongs to a user of one block, a group of another. */
export function diskBase({ owner, group }: Pick<TreeFacts, "owner" | "group">): number | null {
  return blockOf(owner) === blockOf(group) ? blockOf(owner) : null;
}

/** A chown of the tree was interrupted, so its owners are of two blocks. */
export function isHalfChowned({ owner, group }: Pick<TreeFacts, "owner" | "group">): boolean {
  return blockOf(owner) === BUSY_BLOCK || blockOf(group) === BUSY_BLOCK;
}
