import { writeSync } from "node:fs";
import type { Readable } from "node:stream";
import { type Unwatch, watch } from "../sys/poll.ts";
import { getWindowSize, makeRaw, setWindowSize, type WindowSize } from "../sys/terminal.ts";
import { EscapeDetector } from "./escape.ts";

/** The size of the terminal a caller looks at, if it is one. */
export function sizeOf({ stdout }: Caller): WindowSize | undefined {
  return stdout.isTTY ? getWindowSize(stdout.fd) : undefined;
}

/** Where the caller of a foreground machine sits. */
export interface Caller {
  readonly stdin: NodeJS.ReadStream & { readonly fd: number };
  readonly stdout: NodeJS.WriteStream & { readonly fd: number };
}

export interface ConsoleOptions {
  readonly caller: Caller;
  /** The console's output: from the keeper's socket, or a MasterReader where no keeper reads. */
  readonly output: Readable;
  /** What is typed goes in; false: only the output is shown. */
  readonly input: boolean;
  /** ^] three times. */
  readonly onEscape: () => void;
  /** The caller is gone: a closed pipe, a terminal that was hung up. */
  readonly onLost: () => void;
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
  readonly #onLost = (): void => this.#lose();
  readonly #restore = (): void => this.#putModesBack();
  #modes: (() => void)[] = [];

  constructor(options: ConsoleOptions) {
    this.#options = options;
    this.#output = options.output;
  }

  /** Call when the machine runs: `master` is the fd of its console's terminal, which stays the caller's. */
  connect(master: number): void {
    this.#master = master;
    const { stdout } = this.#options.caller;
    this.#resize();
    stdout.on("resize", this.#onResize);
    stdout.on("error", this.#onLost);
    if (this.#options.input) {
      const { stdin } = this.#options.caller;
      process.on("exit", this.#restore);
      this.#makeRaw();
      stdin.on("error", this.#onLost);
      stdin.on("data", this.#onData);
    }
    this.#output.pipe(stdout, { end: false });
  }

  /** Resolves when the last of the output is on its way to the caller. */
  async drained(): Promise<void> {
    if (this.#output.destroyed || this.#output.readableEnded) return;
    await new Promise((resolve) => this.#output.once("close", resolve));
  }

  close(): void {
    const { stdout } = this.#options.caller;
    stdout.off("resize", this.#onResize);
    stdout.off("error", this.#onLost);
    if (this.#options.input) this.#options.caller.stdin.off("data", this.#onData).pause();
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
      setWindowSize(this.#master, getWindowSize(stdout.fd));
    } catch {
      // The terminal went away under us; the machine keeps the size it has.
    }
  }

  /** Reads on, or the keeper would wait for us, and the machine's console for the keeper. */
  #lose(): void {
    this.#output.unpipe(this.#options.caller.stdout);
    this.#output.resume();
    this.#options.onLost();
  }

  /** Mostly both are one terminal: it is made raw twice then, and put back last as it was found first. */
  #makeRaw(): void {
    const { stdin, stdout } = this.#options.caller;
    if (stdin.isTTY) this.#modes.unshift(makeRaw(stdin.fd));
    if (stdout.isTTY) this.#modes.unshift(makeRaw(stdout.fd));
  }

  #putModesBack(): void {
    for (const putBack of this.#modes.splice(0)) putBack();
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
