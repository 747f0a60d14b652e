import type { EventEmitter } from "node:events";
import { BerthError, firstError } from "../errors.ts";

/** As org.freedesktop.import1 calls them. */
export type TransferType =
  | "import-tar"
  | "import-raw"
  | "import-fs"
  | "export-tar"
  | "export-raw"
  | "pull-tar"
  | "pull-raw"
  | "pull-oci";

export type Verify = "no" | "checksum" | "signature";

/** A priority of syslog(3). */
export type Priority = 3 | 4 | 6;

export type Outcome = "done" | "failed" | "canceled";

/** What a transfer's work tells, and how it hears that it is to end. */
export interface Control {
  readonly signal: AbortSignal;
  /** 0 to 1. */
  progress(fraction: number): void;
  log(line: string, priority?: Priority): void;
}

export interface TransferFacts {
  readonly type: TransferType;
  /** The image. */
  readonly local: string;
  /** Where it comes from or goes to, as text; empty for an fd. */
  readonly remote: string;
  /** As it was asked for: with what is secret of it, to be compared and never shown. */
  readonly url?: string;
  readonly verify: Verify;
}

export interface TransferEvents {
  readonly new: [transfer: Transfer];
  readonly removed: [transfer: Transfer, outcome: Outcome];
  readonly log: [transfer: Transfer, priority: Priority, line: string];
  readonly progress: [transfer: Transfer, fraction: number];
}

/** Lines that are kept of each. */
const LOG_LENGTH = 100;
/** Smaller steps are not worth an event. */
const STEP = 0.01;

/** One import, export or download, from its beginning to its end. */
export class Transfer {
  readonly id: number;
  readonly type: TransferType;
  readonly local: string;
  readonly remote: string;
  readonly verify: Verify;
  /** 0 to 1. */
  progress = 0;
  /** Undefined: it goes on. */
  outcome: Outcome | undefined;
  /** The last lines of what was said. */
  readonly log: string[] = [];
  /** Rejects with the reason when it fails or is cancelled. */
  readonly done: Promise<void>;
  readonly #abort = new AbortController();
  readonly #url: string | undefined;

  constructor(id: number, facts: TransferFacts, events: EventEmitter<TransferEvents>, work: Work) {
    this.id = id;
    ({ type: this.type, local: this.local, remote: this.remote, verify: this.verify } = facts);
    this.#url = facts.url;
    this.done = this.#run(events, work);
    // Whoever waits for it hears of it all the same.
    this.done.catch(() => undefined);
  }

  /** Whether that is what it was asked for. */
  isOf(type: TransferType, url: string): boolean {
    return this.type === type && this.#url === url;
  }

  /** Ends it soon, with nothing left of it. */
  cancel(reason: BerthError = new BerthError(`transfer ${this.id} was cancelled`, { exitStatus: 130 })): void {
    this.#abort.abort(reason);
  }

  async #run(events: EventEmitter<TransferEvents>, work: Work): Promise<void> {
    const { signal } = this.#abort;
    // After the constructor: who hears of it can look at all of it.
    await Promise.resolve();
    events.emit("new", this);
    let outcome: Outcome = "failed";
    try {
      await work({
        signal,
        progress: (fraction) => this.#advance(fraction, events),
        log: (line, priority = 6) => this.#say(line, priority, events),
      });
      outcome = "done";
    } catch (error) {
      if (signal.aborted) outcome = "canceled";
      const reason = signal.aborted ? signal.reason : firstError(error);
      this.#say(reason instanceof Error ? reason.message : String(reason), 3, events);
      throw reason;
    } finally {
      this.outcome = outcome;
      events.emit("removed", this, outcome);
    }
  }

  #advance(fraction: number, events: EventEmitter<TransferEvents>): void {
    const step = fraction - this.progress;
    if (step <= 0 || (step < STEP && fraction < 1)) return;
    this.progress = fraction;
    events.emit("progress", this, fraction);
  }

  #say(line: string, priority: Priority, events: EventEmitter<TransferEvents>): void {
    this.log.push(line);
    if (this.log.length > LOG_LENGTH) this.log.shift();
    events.emit("log", this, priority, line);
  }
}

export type Work = (control: Control) => Promise<void>;
