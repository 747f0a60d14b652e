import { writeSync } from "node:fs";
import { errorCode } from "../errors.ts";
import { monotonic } from "../sys/clock.ts";
import { closeQuietly, duplicate } from "../sys/files.ts";
import { type Unwatch, watch } from "../sys/poll.ts";
import { setWindowSize } from "../sys/terminal.ts";
import type { Caller } from "./caller.ts";
import { EscapeDetector } from "./escape.ts";
import { type ConsoleOutput, pump } from "./fd-reader.ts";
import { Herald } from "./herald.ts";

/** Bytes typed ahead of a machine that reads none. Up to here it can still be left by ^]. */
const TYPED_AHEAD = 1 << 20;
const [EOT, NEWLINE] = [4, 10] as const;
/** What is to say that it begins may not be able to. */
const BEGINS_MAX_MS = 10_000;
const [END_AGAIN_MS, END_AGAIN_MAX_MS] = [50, 1600] as const;

export interface ConsoleOptions {
  readonly caller: Caller;
  /** What the console shows: from the keeper's socket or log, or from the terminal's master where no keeper reads it. */
  readonly output: ConsoleOutput;
  /** What is typed goes in; false: only the output is shown. */
  readonly input: boolean;
  /** The end of a stdin that is no terminal is typed too, as ^D. */
  readonly typesEnd?: boolean;
  /** What is shown, and kept from the caller, when what is typed is not lost any more: nothing is typed before, for 10 s. */
  readonly begins?: Buffer | undefined;
  /** ^] three times. */
  readonly onEscape: () => void;
  /** The caller is gone: a closed pipe, a terminal that was hung up. */
  readonly onLost: () => void;
}

/**
 * Connects a caller to a terminal in a machine: what it shows goes to the caller's stdout, what is typed to its master,
 * and the caller's own terminal is lent to it.
 */
export class ConsoleLink {
  readonly #options: ConsoleOptions;
  readonly #output: ConsoleOutput;
  readonly #escape = new EscapeDetector();
  readonly #queue: Buffer[] = [];
  #queued = 0;
  #connected = false;
  #midLine = false;
  #endAgain: NodeJS.Timeout | undefined;
  #listens = false;
  #listenAnyway: NodeJS.Timeout | undefined;
  #master = -1;
  #unwatch: Unwatch | undefined;
  #forget: () => void = () => undefined;
  readonly #onData = (chunk: Buffer): void => this.#type(chunk);
  /** In the middle of a line it would end that only (termios(3), VEOF), and a shell that edits its line takes it for another key. */
  readonly #onEnd = (): void => {
    if (this.#midLine) this.#type(Buffer.from([NEWLINE]));
    this.#typeEnd(END_AGAIN_MS);
  };
  readonly #onLost = (): void => this.#options.onLost();

  constructor(options: ConsoleOptions) {
    this.#options = options;
    const { output, begins } = options;
    this.#output = begins === undefined ? output : new Herald(output, begins, () => this.#listen());
  }

  /** `master` is the fd of the machine's terminal, which stays the caller's. */
  connect(master: number): void {
    // One that reads it watches it, and libuv aborts the process when an fd is watched twice.
    this.#master = duplicate(master);
    this.#connected = true;
    const { caller, input, begins } = this.#options;
    this.#resize();
    caller.terminal.lend(input, () => this.#resize());
    if (input && begins === undefined) this.#listen();
    else if (input) this.#listenAnyway = setTimeout(() => this.#listen(), BEGINS_MAX_MS);
    // Of a caller that is gone all is read on, or the keeper would wait for us, and the machine's console for the keeper.
    pump(this.#output, caller.stdout);
    this.#forget = caller.stdout.onLost(this.#onLost);
  }

  #listen(): void {
    clearTimeout(this.#listenAnyway);
    if (!this.#connected || this.#listens) return;
    this.#listens = true;
    const { stdin } = this.#options.caller;
    // Of a terminal, which has no key for it while it is raw, the end is a hang-up.
    if (stdin.isTTY === true) stdin.on("end", this.#onLost);
    else if (this.#options.typesEnd === true) stdin.on("end", this.#onEnd);
    stdin.on("error", this.#onLost).on("data", this.#onData).resume();
  }

  /** Resolves when the caller has taken the last of the output. */
  async drained(): Promise<void> {
    await this.#output.ended();
    await this.#options.caller.stdout.flushed();
  }

  close(): void {
    this.#output.close();
    if (!this.#connected) return;
    this.#connected = false;
    clearTimeout(this.#endAgain);
    clearTimeout(this.#listenAnyway);
    const { caller, input } = this.#options;
    this.#forget();
    if (input) caller.stdin.off("error", this.#onLost).off("data", this.#onData).off("end", this.#onLost).pause();
    if (input) caller.stdin.off("end", this.#onEnd);
    caller.terminal.takeBack();
    this.#unwatch?.();
    this.#unwatch = undefined;
    closeQuietly(this.#master);
    this.#master = -1;
  }

  #type(chunk: Buffer): void {
    if (this.#options.caller.stdin.isTTY === true && this.#escape.feed(chunk, monotonic())) {
      this.#options.onEscape();
      return;
    }
    this.#midLine = chunk.at(-1) !== NEWLINE;
    this.#queue.push(chunk);
    this.#queued += chunk.length;
    this.#flush();
  }

  /** Again and again, as an end stays one: a shell loses what is typed while it makes its terminal raw for the next line. */
  #typeEnd(delay: number): void {
    if (!this.#connected) return;
    if (this.#queued === 0) this.#type(Buffer.from([EOT]));
    this.#endAgain = setTimeout(() => this.#typeEnd(Math.min(2 * delay, END_AGAIN_MAX_MS)), delay);
  }

  /** The master does not block: what it does not take now waits until it does, and the caller's input with it. */
  #flush(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
    const { stdin } = this.#options.caller;
    for (let chunk = this.#queue[0]; chunk !== undefined && this.#master >= 0; chunk = this.#queue[0]) {
      const written = tryWrite(this.#master, chunk);
      this.#queued -= written;
      if (written < chunk.length) {
        this.#queue[0] = chunk.subarray(written);
        if (stdin.isTTY !== true || this.#queued >= TYPED_AHEAD) stdin.pause();
        this.#unwatch = watch(this.#master, { writable: true }, () => this.#flush());
        return;
      }
      this.#queue.shift();
    }
    if (this.#master >= 0) stdin.resume();
  }

  #resize(): void {
    const { size } = this.#options.caller.terminal;
    if (this.#master < 0 || size === undefined) return;
    try {
      setWindowSize(this.#master, size);
    } catch {
      // The machine's terminal went away under us.
    }
  }
}

/** Bytes taken; 0 when the terminal's buffer is full. A console that is gone takes everything. */
function tryWrite(fd: number, chunk: Buffer): number {
  try {
    return writeSync(fd, chunk);
  } catch (error) {
    return errorCode(error) === "EAGAIN" ? 0 : chunk.length;
  }
}
