import { writeSync } from "node:fs";
import type { Readable } from "node:stream";
import type { ReadStream, WriteStream } from "node:tty";
import { type Unwatch, watch } from "../sys/poll.ts";
import { getWindowSize, setWindowSize } from "../sys/terminal.ts";
import { EscapeDetector } from "./escape.ts";

/** Where the caller of a foreground machine sits. */
export interface Caller {
  readonly stdin: NodeJS.ReadStream | ReadStream;
  readonly stdout: NodeJS.WriteStream | WriteStream;
}

export interface ConsoleOptions {
  readonly caller: Caller;
  /** The console's output: from the keeper's socket, or a MasterReader where no keeper reads. */
  readonly output: Readable;
  /** What is typed goes in; false: only the output is shown. */
  readonly input: boolean;
  /** ^] three times. */
  readonly onEscape: () => void;
}

/**
 * Connects a caller's terminal to a machine's console: output from the keeper, which reads the console alone, input to
 * the terminal's master. The caller's terminal is raw meanwhile, and is put back on every way out: `close`, the end of
 * the process, and Node's own end on a signal or an exception.
 */
export class ConsoleLink {
  readonly #options: ConsoleOptions;
  readonly #output: Readable;
  readonly #escape = new EscapeDetector();
  readonly #queue: Buffer[] = [];
  #master = -1;
  #unwatch: Unwatch | undefined;
  readonly #onData = (chunk: Buffer): void => this.#type(chunk);
  readonly #onResize = (): void => this.#resize();
  readonly #restore = (): void => this.#setRaw(false);

  constructor(options: ConsoleOptions) {
    this.#options = options;
    this.#output = options.output;
    this.#output.pipe(options.caller.stdout, { end: false });
  }

  /** Call when the machine runs: `master` is the fd of its console's terminal, which stays the caller's. */
  connect(master: number): void {
    this.#master = master;
    const { stdin, stdout } = this.#options.caller;
    this.#resize();
    stdout.on("resize", this.#onResize);
    if (!this.#options.input) return;
    process.on("exit", this.#restore);
    this.#setRaw(true);
    stdin.on("data", this.#onData);
  }

  /** Resolves when the last of the output is on its way to the caller. */
  async drained(): Promise<void> {
    if (this.#output.destroyed || this.#output.readableEnded) return;
    await new Promise((resolve) => this.#output.once("close", resolve));
  }

  close(): void {
    const { stdin, stdout } = this.#options.caller;
    stdout.off("resize", this.#onResize);
    stdin.off("data", this.#onData);
    stdin.pause();
    this.#restore();
    process.off("exit", this.#restore);
    this.#unwatch?.();
    this.#master = -1;
    this.#output.destroy();
  }

  #type(chunk: Buffer): void {
    if (this.#options.caller.stdin.isTTY && this.#escape.feed(chunk, performance.now())) {
      this.#options.onEscape();
      return;
    }
    this.#queue.push(chunk);
    this.#flush();
  }

  /** The master does not block: what it does not take now waits until it does, and the caller's input with it. */
  #flush(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
    const { stdin } = this.#options.caller;
    for (let chunk = this.#queue[0]; chunk !== undefined && this.#master >= 0; chunk = this.#queue[0]) {
      const written = tryWrite(this.#master, chunk);
      if (written < chunk.length) {
        this.#queue[0] = chunk.subarray(written);
        stdin.pause();
        this.#unwatch = watch(this.#master, { writable: true }, () => this.#flush());
        return;
      }
      this.#queue.shift();
    }
    if (this.#options.input && this.#master >= 0) stdin.resume();
  }

  #resize(): void {
    const { stdout } = this.#options.caller;
    if (this.#master < 0 || !stdout.isTTY) return;
    try {
      setWindowSize(this.#master, getWindowSize(1));
    } catch {
      // The terminal went away under us; the machine keeps the size it has.
    }
  }

  #setRaw(raw: boolean): void {
    const { stdin } = this.#options.caller;
    if (this.#options.input && stdin.isTTY) stdin.setRawMode(raw);
  }
}

/** Bytes taken; 0 when the terminal's buffer is full. A console that is gone takes everything. */
function tryWrite(fd: number, chunk: Buffer): number {
  try {
    return writeSync(fd, chunk);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EAGAIN") return 0;
    return chunk.length;
  }
}
