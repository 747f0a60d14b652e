import { setTimeout as sleep } from "node:timers/promises";
import { monotonic } from "../sys/clock.ts";
import type { RestartPolicy } from "./policy.ts";
import { afterEnd, type End, type Next, STEADY_MS } from "./restart.ts";
import { TIMER_MAX } from "./timers.ts";

/** A restart that is to come. */
export interface Pending {
  readonly why: string;
  /** ms since the epoch. */
  readonly at: number;
}

/** A machine's restarts: how many there were, whether there is another one, and the wait before it. */
export class Restarts {
  /** Since it was started by command. */
  count = 0;
  #times: number[] = [];
  #row = 0;
  #pending: Pending | null = null;
  #end = new AbortController();

  /** By a command or by us, ms of CLOCK_MONOTONIC; reboots are the machine's own affair. */
  started(at = monotonic()): void {
    this.#times.push(at);
  }

  /** What follows an end. It is counted, if it is a restart. */
  next(end: End, policy: RestartPolicy): Next {
    const now = monotonic();
    if (now - (this.#times.at(-1) ?? now) >= STEADY_MS) this.#row = 0;
    // Of no use any more to anybody.
    this.#times = policy.limit === null ? this.#times.slice(-1) : this.#times.slice(-policy.limit.starts);
    const next = afterEnd(end, policy, { times: this.#times, row: this.#row }, now);
    if (next.kind === "restart" && end.kind !== "interrupted") {
      this.count++;
      this.#row++;
    }
    return next;
  }

  /** Resolves when it is time, or has been ended. */
  async wait(delay: number, why: string): Promise<void> {
    const end = new AbortController();
    this.#end = end;
    this.#pending = { why, at: Date.now() + delay };
    try {
      await sleep(Math.min(delay, TIMER_MAX), undefined, { signal: end.signal });
    } catch (error) {
      if (!end.signal.aborted) throw error;
    } finally {
      this.#pending = null;
    }
  }

  endWait(): void {
    this.#end.abort();
  }

  /** Null: it does not wait. */
  get pending(): Pending | null {
    return this.#pending;
  }
}
