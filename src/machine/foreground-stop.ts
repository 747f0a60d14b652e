import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { killCgroup } from "../exec/cgroup.ts";
import type { Paths } from "../host/paths.ts";
import { isAlive } from "../host/process-id.ts";
import type { InitRequest } from "../plan/init-requests.ts";
import { STOP_SIGNALS, type StopSignal } from "../supervise/stop-signals.ts";
import { pidfdSendSignal } from "../sys/processes.ts";
import { deafness, sendRequest } from "./ask-init.ts";
import type { MachineRecord } from "./record.ts";

const SIGKILL = 9;
const STOP_TIMEOUT_MS = 90_000;

export interface StopOptions {
  readonly machine: MachineRecord;
  /** A pidfd of its PID 1. */
  readonly leader: number;
  readonly paths: Paths;
  /** Its PID 1 is asked as its settings and its init say; false: by whatever signal came. */
  readonly ownWay: boolean;
  readonly say: (line: string) => void;
  /** It has been asked to stop, and may take its time. */
  readonly onAsked: () => void;
}

/** How a machine in the foreground is brought to its end: asked first, then killed. */
export class ForegroundStop {
  readonly #options: StopOptions;
  #requested = false;
  /** There is nothing left to ask. */
  #over = false;
  #killer: NodeJS.Timeout | undefined;
  #asking: Promise<void> | undefined;

  constructor(options: StopOptions) {
    this.#options = options;
  }

  /** There is nothing left to stop. */
  get ended(): boolean {
    return !isAlive(this.#options.machine.leader);
  }

  /** The first signal asks the machine to stop, the next one ends it. Returns whether it was the last that is needed. */
  request(signal: StopSignal): boolean {
    const again = this.#requested;
    this.#requested = true;
    // A terminal that goes away says so more than once.
    if (again && signal === "SIGHUP") return false;
    if (again) this.kill(`${signal} came again`);
    else this.#first(signal);
    return again;
  }

  #first(signal: StopSignal): void {
    const { machine, ownWay } = this.#options;
    const request = ownWay ? machine.requests.poweroff : { signal: STOP_SIGNALS[signal] };
    this.#asking = this.#ask(request);
  }

  kill(why: string): void {
    const { machine, leader, say } = this.#options;
    this.#over = true;
    say(`killing machine ${machine.name}: ${why}`);
    killMachineNow(machine, leader);
  }

  /** Whatever was run to ask has ended: with the machine at the latest. */
  async settled(): Promise<void> {
    await this.#asking;
  }

  close(): void {
    this.#over = true;
    clearTimeout(this.#killer);
  }

  async #ask(request: InitRequest): Promise<void> {
    const { machine, paths, say, onAsked } = this.#options;
    const deaf = await deafness(machine, request);
    if (this.ended || this.#over) return;
    if (deaf !== undefined) {
      this.kill(deaf);
      return;
    }
    say(`stopping machine ${machine.name} (once more: kill it)`);
    onAsked();
    this.#killer = setTimeout(() => this.kill(`it did not stop within ${STOP_TIMEOUT_MS / 1000} s`), STOP_TIMEOUT_MS);
    const fault = await sendRequest(machine, request, paths).catch((error: Error) => error.message);
    if (fault !== undefined) this.kill(fault);
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
