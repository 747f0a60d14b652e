/** syslog(3)'s words by its numbers, the most severe first. */
export const LOG_LEVELS = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"] as const;

export type LogLevel = (typeof LOG_LEVELS)[number];
/** For whom lines are: whoever stderr leads to, people, the journal, or nobody. */
export type LogTarget = "auto" | "console" | "journal" | "null";

/** What of the daemon's log changes while it runs; a daemon that starts anew knows nothing of it. */
export interface LogControl {
  level: LogLevel;
  target: LogTarget;
  /** Those that it can have. */
  readonly targets: readonly LogTarget[];
}
