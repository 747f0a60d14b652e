import { readSync } from "node:fs";
import { Readable } from "node:stream";
import { type Unwatch, watch } from "../sys/poll.ts";

const CHUNK = 64 << 10;

/**
 * The output of a terminal, read from its master until the last program that has it open is gone (EIO). Node's own
 * tty.ReadStream loses the tail of it.
 */
export class MasterReader extends Readable {
  readonly #fd: number;
  #unwatch: Unwatch | undefined;

  /** `fd` must not block; it stays the caller's to close. */
  constructor(fd: number) {
    super();
    this.#fd = fd;
  }

  override _read(): void {
    this.#unwatch ??= watch(this.#fd, { readable: true }, () => this.#drain());
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#stop();
    callback(error);
  }

  #drain(): void {
    for (;;) {
      const chunk = Buffer.allocUnsafe(CHUNK);
      const length = tryRead(this.#fd, chunk);
      if (length === null) return;
      if (length === 0) {
        this.#stop();
        this.push(null);
        return;
      }
      if (!this.push(chunk.subarray(0, length))) {
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

/** Null: nothing there now. 0: the terminal is closed. */
function tryRead(fd: number, chunk: Buffer): number | null {
  try {
    return readSync(fd, chunk);
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EAGAIN" ? null : 0;
  }
}
