import type { Outcome } from "../machine/exit-status.ts";
import { signalName } from "../spec/signals.ts";

/** When a machine that has ended is booted again, as systemd.service(5) has it: Restart=, RestartSec=, StartLimit*=. */
export interface RestartPolicy {
  readonly when: "no" | "on-failure" | "always";
  /** ms, before the first restart; it doubles with each one in a row, up to a minute. */
  readonly delay: number;
  /** So many starts, the first among them, within `interval` ms; then the machine has failed for good. */
  readonly limit: { readonly starts: number; readonly interval: number };
}

export const NO_RESTART: RestartPolicy = { when: "no", delay: 100, limit: { starts: 5, interval: 10_000 } };

/** How a boot of a machine ended, or that it did not come about. */
export type End =
  | Exclude<Outcome, { kind: "killed" }>
  | { readonly kind: "killed"; readonly signal: number; readonly outOfMemory?: boolean }
  | { readonly kind: "not started"; readonly error: string };

export type Next =
  | { readonly kind: "restart"; readonly delay: number; readonly why: string }
  | { readonly kind: "stopped" }
  /** A sentence: why it does not run. */
  | { readonly kind: "failed"; readonly reason: string };

const DELAY_MAX = 60_000;

/**
 * What becomes of a machine after a boot of it has ended otherwise than by a reboot.
 * @param onPurpose it was stopped by a command of berth's: then it stays so
 * @param starts when it was started, on CLOCK_MONOTONIC in ms, oldest first, this boot last
 */
export function afterEnd(
  end: End,
  onPurpose: boolean,
  policy: RestartPolicy,
  starts: readonly number[],
  now: number,
): Next {
  if (onPurpose) return { kind: "stopped" };
  const failure = failureOf(end);
  const again = policy.when === "always" || (policy.when === "on-failure" && failure !== undefined);
  if (!again) return failure === undefined ? { kind: "stopped" } : { kind: "failed", reason: failure };
  const { limit, delay } = policy;
  const why = failure ?? "it powered itself off";
  const recent = starts.filter((start) => now - start < limit.interval).length;
  if (recent < limit.starts)
    return { kind: "restart", delay: Math.min(delay * 2 ** Math.max(0, recent - 1), DELAY_MAX), why };
  const times = `${limit.starts} starts within ${limit.interval / 1000} s`;
  return { kind: "failed", reason: `${why}; not started again after ${times}` };
}

/** Undefined: it did what it should. */
export function failureOf(end: End): string | undefined {
  switch (end.kind) {
    case "poweroff":
    case "reboot":
      return undefined;
    case "exited":
      return end.status === 0 ? undefined : `its PID 1 exited with status ${end.status}`;
    case "killed":
      return `its PID 1 was killed by ${signalName(end.signal)}${end.outOfMemory === true ? ": out of memory" : ""}`;
    case "not started":
      return end.error;
  }
}
