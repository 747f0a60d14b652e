import { setTimeout as sleep } from "node:timers/promises";
import { monotonic } from "../sys/clock.ts";

/** A machine that comes back sooner than this has not been up to anything, ms. */
const SHORT_MS = 5000;
/** As many of these in a row may be somebody's wish. */
const BURST = 15;
/** Not more: meanwhile there is nothing that a command could be run in. */
const PAUSE_MAX_MS = 5000;
const LOOK_MS = 100;

/** Keeps a machine that reboots as soon as it is up from doing so without end: it waits in the end, longer each time. */
export class RebootPause {
  #began = monotonic();
  #short = 0;

  booting(): void {
    this.#began = monotonic();
  }

  /** Resolves when it is to boot again, or at once when there is no use any more. */
  async rebooting(useless: () => boolean, say: (seconds: number) => void): Promise<void> {
    this.#short = monotonic() - this.#began < SHORT_MS ? this.#short + 1 : 0;
    if (this.#short <= BURST) return;
    const pause = Math.min(1000 * 2 ** (this.#short - BURST - 1), PAUSE_MAX_MS);
    say(pause / 1000);
    for (const end = monotonic() + pause; monotonic() < end && !useless(); ) await sleep(LOOK_MS);
  }
}
