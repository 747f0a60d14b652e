import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import { TIMER_MAX } from "./timers.ts";

export interface Poweroff {
  readonly name: string;
  /** Resolves when its init has been asked. */
  ask(): Promise<void>;
  /** Resolves when nothing of it is left. */
  ended(): Promise<void>;
  kill(): Promise<void>;
}

const LATE = Symbol("late");
/** Most machines have ended by then. */
const PATIENCE_MS = 3000;

/** Says, when it takes long, that the end of a machine is waited for, and what can be done about it. */
export async function tellWhileWaiting<T>(name: string, end: Promise<T>, say: (line: string) => void): Promise<T> {
  const text = `machine ${name} is still shutting down, and will be killed if it takes too long; berth terminate ${name} does that now`;
  const timer = setTimeout(() => say(text), PATIENCE_MS);
  try {
    return await end;
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves when a machine has been asked to power off, and has ended. One that takes longer than `timeout` ms is killed. */
export async function powerOffWithin(timeout: number | null, machine: Poweroff): Promise<void> {
  if (timeout === null) {
    await machine.ask();
    return machine.ended();
  }
  const late = new AbortController();
  const ended = machine.ask().then(() => machine.ended());
  ended.catch(() => undefined); // heard below, if it still matters
  try {
    const time = sleep(Math.min(timeout, TIMER_MAX), LATE, { ref: false, signal: late.signal }).catch(() => undefined);
    if ((await Promise.race([ended, time])) !== LATE) return;
  } finally {
    late.abort();
  }
  await machine.kill();
  // What was run to ask it was killed with it: that is no news.
  await ended.catch(() => undefined);
  throw new BerthError(`machine ${machine.name} did not end within ${timeout / 1000} s, and was killed`, {
    kind: "Timeout",
    hint: "--timeout=SECONDS or TimeoutStopSec= of its settings gives its services longer",
  });
}
