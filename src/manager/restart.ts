import type { Outcome } from "../machine/exit-status.ts";
import { signalName } from "../spec/signals.ts";
import type { RestartPolicy } from "./policy.ts";

/** How a boot of a machine ended, or that it did not come about. */
export type End = HowEnded & {
  /** ms since the epoch; null: nobody knows; undefined: just now. */
  readonly time?: number | null;
};

type HowEnded =
  | Exclude<Outcome, { kind: "killed" }>
  | { readonly kind: "killed"; readonly signal: number; readonly outOfMemory?: boolean }
  | { readonly kind: "not started"; readonly error: string }
  /** By the daemon, which has waited long enough. */
  | { readonly kind: "not ready"; readonly seconds: number }
  /** It was about to be started again when an earlier daemon ended. */
  | { readonly kind: "interrupted" };

/** How the reason begins of one that took too long. */
export const NOT_READY = "was not ready within";

export type Next =
  | { readonly kind: "restart"; readonly delay: number; readonly why: string }
  | { readonly kind: "stopped" }
  /** A sentence: why it does not run. */
  | { readonly kind: "failed"; readonly reason: string };

/** What counts of a machine's starts since it was started by command. */
export interface Starts {
  /** On CLOCK_MONOTONIC in ms, oldest first. */
  readonly times: readonly number[];
  /** So many restarts in a row, before this one, were of boots that did not last. */
  readonly row: number;
}

/** ms, unless RestartSec= is longer. */
const DELAY_MAX = 60_000;
/** A boot that lasts longer is none in a row of failures, ms. */
export const STEADY_MS = 60_000;

/** What becomes of a machine after a boot of it has ended by itself, otherwise than by a reboot. */
export function afterEnd(end: End, policy: RestartPolicy, { times, row }: Starts, now: number): Next {
  if (end.kind === "interrupted") return { kind: "restart", delay: 0, why: "an earlier daemon was about to" };
  const failure = failureOf(end);
  if (!isFollowed(end, policy))
    return failure === undefined ? { kind: "stopped" } : { kind: "failed", reason: failure };
  const why = failure ?? "it powered itself off";
  const delay = Math.max(policy.delay, Math.min(policy.delay * 2 ** Math.min(row, 30), DELAY_MAX));
  const { limit } = policy;
  const recent = limit === null ? 0 : times.filter((time) => isWithin(now + delay - time, limit.interval)).length;
  if (limit === null || recent < limit.starts) return { kind: "restart", delay, why };
  return { kind: "failed", reason: `${why}; not started again after ${limitText(limit)}` };
}

/** The machine is started again after such an end, if its starts are not too many. */
export function isFollowed(end: End, { when }: RestartPolicy): boolean {
  return when === "always" || (when === "on-failure" && failureOf(end) !== undefined);
}

function limitText({ starts, interval }: NonNullable<RestartPolicy["limit"]>): string {
  const times = starts === 1 ? "1 start" : `${starts} starts`;
  return interval === null ? times : `${times} within ${interval / 1000} s`;
}

function isWithin(time: number, interval: number | null): boolean {
  return interval === null || time < interval;
}

/** Undefined: it did what it should. */
export function failureOf(end: End): string | undefined {
  switch (end.kind) {
    case "poweroff":
    case "reboot":
    case "interrupted":
      return undefined;
    case "exited":
      return end.status === 0 ? undefined : `its PID 1 exited with status ${end.status}`;
    case "killed":
      return `its PID 1 was killed by ${signalName(end.signal)}${end.outOfMemory === true ? ": out of memory" : ""}`;
    case "not ready":
      return `${NOT_READY} ${end.seconds} s`;
    case "not started":
      return end.error;
  }
}
