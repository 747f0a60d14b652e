import { readSync } from "node:fs";
import { errorCode } from "../errors.ts";
import { closeQuietly } from "../sys/files.ts";
import { type Unwatch, watch } from "../sys/poll.ts";
import type { SteadyOutput } from "./steady-output.ts";

/** Read into by all readers: what is handed on is to be used, or copied, at once. */
const buffer = Buffer.allocUnsafeSlow(64 << 10);
/** Of one turn: a writer that never stops must not keep signals and everything else from their turn. */
const READS = 16;
/** More than a pipe or a terminal holds (tty_buffer.c: 64 kB): what comes after so many bytes was written later. */
const TAIL = 256 << 10;

/** What a console shows, to whoever looks at it. */
export interface ConsoleOutput {
  /** The end has come, or `close` has been called. */
  readonly closed: boolean;
  /** Begins to read. `take` gets a part that is read over after it; when it returns false nothing comes until `resume`. */
  start(take: (chunk: Buffer) => boolean): void;
  resume(): void;
  /** Resolves when it is closed. */
  ended(): Promise<void>;
  close(): void;
}

/**
 * The output of a pipe, a socket, or of a terminal by its master, until the last program that has it open is gone (EOF,
 * of a terminal EIO). Node's own tty.ReadStream loses the tail of a terminal.
 */
export class FdReader implements ConsoleOutput {
  readonly #fd: number;
  readonly #owned: boolean;
  #take: ((chunk: Buffer) => boolean) | undefined;
  #unwatch: Unwatch | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Bytes that may still come, when all that is there now is the end. */
  #tail: number | undefined;
  #ended: (() => void)[] = [];
  #closed = false;

  /** `owned`: is closed with the reader; else it stays the caller's, open until the reader is closed. */
  constructor(fd: number, owned: boolean) {
    this.#fd = fd;
    this.#owned = owned;
  }

  get closed(): boolean {
    return this.#closed;
  }

  start(take: (chunk: Buffer) => boolean): void {
    this.#take = take;
    this.resume();
  }

  resume(): void {
    if (this.#closed || this.#take === undefined) return;
    // uv_poll makes the fd non-blocking.
    this.#unwatch ??= watch(this.#fd, { readable: true }, () => this.#drain());
    if (this.#tail !== undefined) this.#drain();
  }

  /** Who wrote has ended. Others may hold the other side open: in `grace` ms the end is where nothing is there to read. */
  endSoon(grace: number): void {
    if (this.#closed) return;
    this.#timer ??= setTimeout(() => {
      this.#tail = TAIL;
      if (this.#unwatch !== undefined) this.#drain();
    }, grace);
  }

  ended(): Promise<void> {
    return this.#closed ? Promise.resolve() : new Promise((resolve) => this.#ended.push(resolve));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pause();
    clearTimeout(this.#timer);
    if (this.#owned) closeQuietly(this.#fd);
    for (const callback of this.#ended.splice(0)) callback();
  }

  #drain(): void {
    for (let reads = 0; reads < READS || this.#tail !== undefined; reads++) {
      const length = this.#tail === 0 ? 0 : tryRead(this.#fd);
      if (length === null && this.#tail === undefined) return;
      if (length === null || length === 0) {
        this.close();
        return;
      }
      if (this.#tail !== undefined) this.#tail = Math.max(0, this.#tail - length);
      const more = this.#take?.(buffer.subarray(0, length)) ?? true;
      if (this.#closed) return;
      if (!more) {
        this.#pause(); // whoever takes it is behind
        return;
      }
    }
  }

  #pause(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
  }
}

/** Passes on all that is read, no faster than it is taken. What a reader that is gone would have got goes nowhere. */
export function pump(from: ConsoleOutput, to: SteadyOutput): void {
  from.start((chunk) => {
    if (to.write(chunk)) return true;
    to.whenDrained(() => from.resume());
    return false;
  });
}

/** Null: nothing there now. 0: the other side is closed. */
function tryRead(fd: number): number | null {
  try {
    return readSync(fd, buffer);
  } catch (error) {
    return errorCode(error) === "EAGAIN" ? null : 0;
  }
}
