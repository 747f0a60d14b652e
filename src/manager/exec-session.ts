import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import type { Launch } from "../exec/launch.ts";
import type { Paths } from "../host/paths.ts";
import { type JoinOptions, joinedStatus, joinMachine } from "../machine/join.ts";
import type { MachineRecord } from "../machine/record.ts";
import { pidfdSendSignal } from "../sys/processes.ts";

const SIGHUP = 1;
const SIGKILL = 9;
/** What takes longer is not held up by what is done for the next one. */
const SHORT_MS = 20;
/** For a command whose caller has gone. */
const HANGUP_MS = 2000;

/** A command that runs in a machine for somebody else. */
export class ExecSession {
  readonly #launch: Launch;
  #state: "launching" | "running" | "over" = "launching";
  /** Signals that came before the command was there. */
  #early: number[] = [];

  readonly #onIdle: () => void;

  /**
   * Takes over the fds of `options`. `onIdle`: nothing is to be done for it, maybe more than once. @throws as joinMachine does
   */
  constructor(machine: MachineRecord, options: JoinOptions, paths: Paths, onIdle: () => void) {
    this.#launch = joinMachine(machine, options, paths);
    this.#onIdle = onIdle;
  }

  /** Its pid on the host, as soon as it runs. */
  get pid(): number {
    return this.#launch.leaderPid;
  }

  /** Resolves to its exit status, when nothing of it is left with us. */
  async run(onStarted: () => void): Promise<number> {
    let longer: NodeJS.Timeout | undefined;
    try {
      await this.#launch.run();
      this.#state = "running";
      for (const signal of this.#early) this.signal(signal);
      onStarted();
      longer = setTimeout(this.#onIdle, SHORT_MS);
      return await joinedStatus(this.#launch);
    } finally {
      clearTimeout(longer);
      this.#onIdle();
      const failed = this.#state === "launching";
      this.#state = "over";
      if (!failed) this.#launch.release();
    }
  }

  signal(signal: number): void {
    if (this.#state === "launching") this.#early.push(signal);
    if (this.#state === "running") pidfdSendSignal(this.#launch.fds.get("leader"), signal);
  }

  /** As when a terminal's window is closed; what does not mind is killed. */
  async hangUp(): Promise<void> {
    this.signal(SIGHUP);
    await sleep(HANGUP_MS, undefined, { ref: false });
    this.signal(SIGKILL);
    if (this.#state === "launching") this.#launch.abort(new BerthError("the caller of the command has gone"));
  }
}
