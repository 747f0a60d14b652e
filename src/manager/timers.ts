/** Node waits for no longer, ms: 24 days, which nobody tells from for ever. */
export const TIMER_MAX = 2 ** 31 - 1;

/** Aborted after that time; null: never. */
export function lateSignal(timeout: number | null): AbortSignal {
  return timeout === null ? new AbortController().signal : AbortSignal.timeout(Math.min(timeout, TIMER_MAX));
}

/** `in 3 s`, of ms since the epoch. */
export function inSeconds(at: number): string {
  const left = Math.max(0, at - Date.now()) / 1000;
  return `in ${left < 10 ? left.toFixed(1) : Math.round(left)} s`;
}
