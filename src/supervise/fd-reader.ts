import { readSync } from "node:fs";
import { Readable } from "node:stream";
import { errorCode } from "../errors.ts";
import { closeQuietly } from "../sys/files.ts";
import { type Unwatch, watch } from "../sys/poll.ts";

/** Read into and copied from: a stalled stream of single bytes must not hold a buffer of this size for each. */
const buffer = Buffer.allocUnsafe(64 << 10);
/** Of one turn: a writer that never stops must not keep signals and everything else from their turn. */
const READS = 16;
/** More than a pipe or a terminal holds (tty_buffer.c: 64 kB): what comes after so many bytes was written later. */
const TAIL = 256 << 10;

/**
 * The output of a pipe, a socket, or of a terminal by its master, until the last program that has it open is gone (EOF,
 * of a terminal EIO). Node's own tty.ReadStream loses the tail of a terminal.
 */
export class FdReader extends Readable {
  readonly #fd: number;
  readonly #owned: boolean;
  #unwatch: Unwatch | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Bytes that may still come, when all that is there now is the end. */
  #tail: number | undefined;

  /** `owned`: is closed with the stream; else it stays the caller's, open until the stream is closed. */
  constructor(fd: number, owned: boolean) {
    super();
    this.#fd = fd;
    this.#owned = owned;
  }

  /** Who wrote has ended. Others may hold the other side open: in `grace` ms the end is where nothing is there to read. */
  endSoon(grace: number): void {
    if (this.destroyed) return;
    this.#timer ??= setTimeout(() => {
      this.#tail = TAIL;
      if (this.#unwatch !== undefined) this.#drain();
    }, grace);
  }

  override _read(): void {
    // uv_poll makes the fd non-blocking.
    this.#unwatch ??= watch(this.#fd, { readable: true }, () => this.#drain());
    if (this.#tail !== undefined) this.#drain();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#stop();
    clearTimeout(this.#timer);
    if (this.#owned) closeQuietly(this.#fd);
    callback(error);
  }

  #drain(): void {
    for (let reads = 0; reads < READS || this.#tail !== undefined; reads++) {
      const length = this.#tail === 0 ? 0 : tryRead(this.#fd);
      if (length === null && this.#tail === undefined) return;
      if (length === null || length === 0) {
        this.#stop();
        this.push(null);
        return;
      }
      if (this.#tail !== undefined) this.#tail = Math.max(0, this.#tail - length);
      if (!this.push(Buffer.from(buffer.subarray(0, length)))) {
        this.#stop(); // whoever reads us is behind: _read is called when not
        return;
      }
    }
  }

  #stop(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
  }
}

/** Null: nothing there now. 0: the other side is closed. */
function tryRead(fd: number): number | null {
  try {
    return readSync(fd, buffer);
  } catch (error) {
    return errorCode(error) === "EAGAIN" ? null : 0;
  }
}
