import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { killCgroup } from "../exec/cgroup.ts";
import { isAlive } from "../host/process-id.ts";
import { handlesSignal } from "../supervise/shutdown.ts";
import { STOP_SIGNALS, type StopSignal } from "../supervise/stop-signals.ts";
import { pidfdSendSignal } from "../sys/processes.ts";
import type { MachineRecord } from "./record.ts";

const SIGKILL = 9;
const STOP_TIMEOUT_MS = 90_000;

export interface StopOptions {
  readonly machine: MachineRecord;
  /** A pidfd of its PID 1. */
  readonly leader: number;
  /** Its init gets the machine's own stop signal; false: whatever signal came. */
  readonly ownSignal: boolean;
  readonly say: (line: string) => void;
  /** It has been asked to stop, and may take its time. */
  readonly onAsked: () => void;
}

/** How a machine in the foreground is brought to its end: asked first, then killed. */
export class ForegroundStop {
  readonly #options: StopOptions;
  #requested = false;
  #killer: NodeJS.Timeout | undefined;

  constructor(options: StopOptions) {
    this.#options = options;
  }

  /** There is nothing left to stop. */
  get ended(): boolean {
    return !isAlive(this.#options.machine.leader);
  }

  /** The first signal asks the machine to stop, the next one ends it. Returns whether it was the last that is needed. */
  request(signal: StopSignal): boolean {
    const { machine, ownSignal } = this.#options;
    const number = ownSignal ? machine.killSignal : STOP_SIGNALS[signal];
    const again = this.#requested;
    this.#requested = true;
    // A terminal that goes away says so more than once.
    if (again && signal === "SIGHUP") return false;
    if (again) this.kill(`${signal} came again`);
    else if (!handlesSignal(machine.leader.pid, number)) this.kill("its PID 1 does not handle the signal");
    else this.#ask(number);
    return again;
  }

  kill(why: string): void {
    const { machine, leader, say } = this.#options;
    say(`killing machine ${machine.name}: ${why}`);
    killMachineNow(machine, leader);
  }

  close(): void {
    clearTimeout(this.#killer);
  }

  #ask(signal: number): void {
    const { machine, leader, say, onAsked } = this.#options;
    say(`stopping machine ${machine.name} (once more: kill it)`);
    onAsked();
    pidfdSendSignal(leader, signal);
    this.#killer = setTimeout(() => this.kill(`it did not stop within ${STOP_TIMEOUT_MS / 1000} s`), STOP_TIMEOUT_MS);
  }
}

/** Every process of a machine, PID 1 by its pidfd. */
export function killMachineNow({ cgroup }: { readonly cgroup: string }, leader: number): void {
  killCgroup(join(cgroup, "payload"));
  pidfdSendSignal(leader, SIGKILL);
}

/** Why a launch was aborted, with the exit status of who dies of that signal. */
export function abortedBy(signal: StopSignal, launch: string): BerthError {
  return new BerthError(`${signal} ended ${launch}`, { exitStatus: 128 + STOP_SIGNALS[signal] });
}
