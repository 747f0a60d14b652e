/**
 * What the maker of a snapshot and its follower say to each other, JSON, one a line. The follower is given `FollowRequest` on its
 * stdin, and then `"catch up"` any number of times, the last time `"finish"`; each is answered on its stdout.
 */
export interface FollowRequest {
  /** Absolute. `to` is private to who makes it. */
  readonly from: string;
  readonly to: string;
}

export type FollowOrder = "catch up" | "finish";

export type FollowerMessage =
  /** `possible`: false where a tree has more directories than a process may have open. */
  | { readonly say: "looked"; readonly possible: boolean }
  | { readonly say: "followed"; readonly entries: number; readonly ms: number }
  | { readonly say: "failed"; readonly message: string; readonly full: boolean };

/** The verb by which a follower is started; it is no part of the command line. */
export const FOLLOWER_VERB = "internal-follow";
