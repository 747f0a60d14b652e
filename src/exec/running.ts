import type { ExitStatus } from "../sys/processes.ts";

/**
 * A boot of a machine that runs, as its supervisor has it: one that this process has launched (Launch), or one that it
 * has come to later (Attachment).
 */
export interface RunningBoot {
  /**
   * `leader` (a pidfd), `notify-socket`, and `console` where it has one (the master of its terminal, for input and size:
   * the keeper reads it).
   */
  readonly fds: { has(name: string): boolean; get(name: string): number };
  readonly leaderPid: number;
  readonly keeperPid: number;
  /** How the machine's init has ended; null: it is not known, because the keeper was killed. The keeper goes on until `keeperEnd`. */
  exit(): Promise<ExitStatus | null>;
  keeperEnd(): Promise<void>;
  /**
   * Undoes what was made on the host, when the machine has ended. What belongs to the machine and not to one boot of it
   * (an ephemeral machine's changes) stays when it is `rebooting`.
   */
  release(failed?: boolean, rebooting?: boolean): void;
}

/** Called with a record directory right before it is removed, to take out of it what is worth keeping: logs, the exit record. */
export type OnRelease = (directory: string) => void;
