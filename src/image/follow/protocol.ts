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
  /** `possible`: false for a tree with more directories than a process may have open, or more names than are kept in mind. */
  | { readonly say: "looked"; readonly possible: boolean }
  | { readonly say: "followed"; readonly entries: number; readonly ms: number }
  /** `why`: of what there is something to be said about what to do. */
  | { readonly say: "failed"; readonly message: string; readonly why: "full" | "too large" | null };

/** The verb by which a follower is started; it is no part of the command line. */
export const FOLLOWER_VERB = "internal-follow";
