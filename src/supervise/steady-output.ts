import { Writable } from "node:stream";
import { type Unwatch, watch } from "../sys/poll.ts";
import { openSteady, type SteadyFd } from "../sys/steady-fd.ts";

const BUFFERED = 64 << 10;

/**
 * One of the caller's outputs. A reader that stands still holds back whoever writes here, and nothing else: Node's own
 * process.stdout would wait in write(2) for a terminal that was stopped, and no signal is heard meanwhile.
 */
export class SteadyOutput extends Writable {
  readonly #to: SteadyFd;
  #rest: Buffer = Buffer.alloc(0);
  #taken: ((error?: Error | null) => void) | undefined;
  #unwatch: Unwatch | undefined;
  #patience: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #givenUp = false;

  /** `fd` stays the caller's. */
  constructor(fd: number) {
    super({ highWaterMark: BUFFERED });
    this.#to = openSteady(fd);
  }

  /** From now on a reader that takes nothing for `patience` ms is given up. */
  hurry(patience: number): void {
    this.#patience ??= patience;
    if (this.#unwatch !== undefined) this.#wait();
  }

  /** What has not been taken, and all that comes, goes nowhere. */
  giveUp(): void {
    this.#givenUp = true;
    if (this.#taken !== undefined) this.#go();
  }

  override _write(chunk: Buffer, _encoding: string, taken: (error?: Error | null) => void): void {
    this.#rest = chunk;
    this.#taken = taken;
    this.#go();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#rests();
    this.#to.close();
    callback(error);
  }

  #go(): void {
    try {
      while (this.#rest.length > 0 && !this.#givenUp) {
        const written = this.#to.write(this.#rest);
        if (written === 0) {
          this.#wait();
          return;
        }
        this.#rests();
        this.#rest = this.#rest.subarray(written);
      }
      this.#done(null);
    } catch (error) {
      this.#done(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #wait(): void {
    this.#unwatch ??= watch(this.#to.fd, { writable: true }, () => this.#go());
    if (this.#patience !== undefined) this.#timer ??= setTimeout(() => this.giveUp(), this.#patience);
  }

  #done(error: Error | null): void {
    this.#rests();
    const taken = this.#taken;
    this.#taken = undefined;
    taken?.(error);
  }

  #rests(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** Resolves when all that was written to a stream has been taken from it, or never will be. */
export function flushed(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed) resolve();
    else stream.write("", () => resolve());
  });
}
