import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import type { MachineRecord } from "../machine/record.ts";
import { type End, NOT_READY } from "./restart.ts";
import type { Failure } from "./state-file.ts";
import { lateSignal, TIMER_MAX } from "./timers.ts";

/** Who waits for a start. */
export interface StartCaller {
  /** For the user: warnings, what is weaker than the default. */
  readonly say: (line: string) => void;
  /** What its init says it does. */
  readonly onStatus: (status: string) => void;
  readonly signal: AbortSignal;
  /** How long it may take to be ready, ms; null: as long as its settings say. */
  readonly timeout: number | null;
}

type Running = Pick<MachineRecord, "ready" | "status" | "times">;

/** What is waited for. */
export interface Starting {
  readonly name: string;
  /** Of the boot that runs. */
  readonly record: Running | undefined;
  readonly alive: boolean;
  readonly restarts: number;
  readonly ended: Promise<void>;
  readonly failure: Failure | null;
  readonly tail: readonly string[];
  until(isTrue: () => boolean, signal: AbortSignal): Promise<void>;
  terminate(verdict?: BerthError): Promise<void>;
}

/** An init that counts as ready because it runs is not, if it ends within this time. */
const AT_ONCE_MS = 50;

/** The daemon ends, and who waits for something hears so. */
export class DaemonEnds extends BerthError {
  constructor() {
    super("the daemon ends", { hint: "berth daemon start starts it again" });
  }
}

/**
 * Resolves when a machine whose init runs is ready. One that takes too long, or is given up, is killed; from a daemon that
 * ends it is taken over by the next. `timeout` is in ms; null: it may take any time.
 */
export async function whenReady(machine: Starting, caller: StartCaller, timeout: number | null): Promise<void> {
  const late = lateSignal(timeout);
  try {
    await untilReady(machine, caller, AbortSignal.any([caller.signal, late]));
  } catch (error) {
    const reason = error === late.reason ? `${NOT_READY} ${(timeout ?? 0) / 1000} s` : undefined;
    const verdict = reason === undefined ? undefined : new BerthError(reason);
    if (machine.alive && !(error instanceof DaemonEnds)) await machine.terminate(verdict);
    if (reason === undefined) throw error;
    const hint = "--timeout=SECONDS or TimeoutStartSec= of its settings gives it longer";
    throw new BerthError(withConsole(`machine ${machine.name} ${reason}`, machine), { kind: "Timeout", hint });
  }
}

/** The same for a boot that nobody has asked for: it is killed. `over` says so when it has ended. */
export function killWhenLate(
  boot: { readonly current: { readonly ready: boolean }; kill(): void },
  timeout: number | null,
): { over(): End | undefined } {
  let late: End | undefined;
  const timer =
    timeout === null
      ? undefined
      : setTimeout(
          () => {
            if (boot.current.ready) return;
            late = { kind: "not ready", seconds: timeout / 1000 };
            boot.kill();
          },
          Math.min(timeout, TIMER_MAX),
        );
  return {
    over: () => {
      clearTimeout(timer);
      return late;
    },
  };
}

async function untilReady(machine: Starting, { onStatus }: StartCaller, signal: AbortSignal): Promise<void> {
  let status: string | null = null;
  const isReady = (): boolean => {
    const { record, alive } = machine;
    if (record !== undefined && record.status !== null && record.status !== status) onStatus(record.status);
    status = record?.status ?? status;
    return record?.ready === true || !alive;
  };
  let restarts: number;
  do {
    await machine.until(isReady, signal);
    restarts = machine.restarts;
    if (runsOnly(machine.record)) await Promise.race([machine.ended, pause(signal)]);
    if (!machine.alive) throw hasEnded(machine);
  } while (machine.restarts !== restarts); // it has ended, and comes again
}

/** @throws the signal's reason */
async function pause(signal: AbortSignal): Promise<void> {
  try {
    await sleep(AT_ONCE_MS, undefined, { signal });
  } catch {
    throw signal.reason;
  }
}

/** It neither says nor shows when it is ready. */
function runsOnly(record: Running | undefined): boolean {
  return record?.times.ready === record?.times.executed;
}

function hasEnded(machine: Starting): BerthError {
  const { name, failure } = machine;
  const reason = failure?.reason ?? "it ended before it was ready";
  return new BerthError(withConsole(`machine ${name}: ${reason}`, machine), { hint: failure?.hint ?? undefined });
}

/** What it said last, on lines of their own. */
function withConsole(message: string, { tail }: Starting): string {
  return [message, ...tail.map((line) => `berth: console: ${line}`)].join("\n");
}
