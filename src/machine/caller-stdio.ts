import { fstatSync } from "node:fs";
import { BerthError } from "../errors.ts";
import type { Caller } from "../supervise/caller.ts";
import { FdReader, pump } from "../supervise/fd-reader.ts";
import { SteadyOutput } from "../supervise/steady-output.ts";
import { closeQuietly, duplicate, isPath, makeBlocking } from "../sys/files.ts";
import { pipe } from "../sys/sockets.ts";
import { isTerminal } from "../sys/terminal.ts";

/**
 * --pipe: the payload gets the caller's fds as they are, so that pipelines are binary-safe and end where they should.
 * A terminal is never among them, since a program that has one can type into it (TIOCSTI): it is replaced by a pipe
 * that is copied to or from it.
 */
export class CallerStdio {
  /** `stdio:0` to `stdio:2`: what the payload gets. The launch owns them. */
  readonly fds: ReadonlyMap<string, number>;
  readonly #caller: Caller;
  #input: SteadyOutput | undefined;
  readonly #outputs: { readonly from: FdReader; readonly to: SteadyOutput }[] = [];
  #forgets: (() => void)[] = [];
  readonly #onInput = (chunk: Buffer): void => this.#passIn(chunk);
  readonly #onInputEnd = (): void => this.#input?.end();
  readonly #onInputLost = (): void => this.#loseInput();

  constructor(caller: Caller) {
    this.#caller = caller;
    this.fds = new Map(
      [0, 1, 2].map((target) => [`stdio:${target}`, isTerminal(target) ? this.#pipe(target) : pass(target)]),
    );
  }

  /** Copies to and from terminals from now on. */
  start(): void {
    for (const { from, to } of this.#outputs) {
      // The payload learns of it as it would in any pipeline: by SIGPIPE.
      this.#forgets.push(to.onLost(() => from.close()));
      if (!from.closed) pump(from, to);
    }
    // Not touched otherwise: Node makes a stdin it knows of non-blocking, and the payload has the same open file.
    if (this.#input === undefined) return;
    const { stdin } = this.#caller;
    this.#forgets.push(this.#input.onLost(this.#onInputLost)); // the payload has closed its stdin
    stdin.on("error", this.#onInputLost); // the terminal was hung up
    if (stdin.readableEnded) this.#input.end();
    else stdin.on("end", this.#onInputEnd).on("data", this.#onInput).resume();
  }

  /** Who wrote has ended, but what it has started may go on and hold its stdout: that is not waited for. */
  endSoon(grace: number): void {
    for (const { from } of this.#outputs) from.endSoon(grace);
  }

  /** Resolves when everything the payload wrote has been passed on. */
  async drained(): Promise<void> {
    for (const { from, to } of this.#outputs) {
      await from.ended();
      await to.flushed();
    }
  }

  close(): void {
    if (this.#input !== undefined) {
      this.#loseInput();
      this.#caller.stdin.off("error", this.#onInputLost);
    }
    for (const forget of this.#forgets.splice(0)) forget();
    for (const { from } of this.#outputs) from.close();
  }

  /** The payload's end of a pipe in place of the terminal that is the caller's. */
  #pipe(target: number): number {
    const [readEnd, writeEnd] = pipe();
    if (target === 0) {
      this.#input = new SteadyOutput(writeEnd);
      closeQuietly(writeEnd); // it has one of its own
      return readEnd;
    }
    const to = target === 1 ? this.#caller.stdout : this.#caller.stderr;
    this.#outputs.push({ from: new FdReader(readEnd, true), to });
    return writeEnd;
  }

  #passIn(chunk: Buffer): void {
    if (this.#input === undefined || this.#input.write(chunk)) return;
    this.#caller.stdin.pause();
    this.#input.whenDrained(() => this.#caller.stdin.resume());
  }

  #loseInput(): void {
    if (this.#input === undefined) return;
    this.#input.close();
    this.#caller.stdin.off("data", this.#onInput).off("end", this.#onInputEnd).pause();
  }
}

/** A directory would be a way out: `..` from it goes on above the machine's root (the class of CVE-2024-21626). */
function pass(target: number): number {
  const name = ["stdin", "stdout", "stderr"][target];
  if (isPath(target) || fstatSync(target).isDirectory())
    throw new BerthError(`${name} is a directory or was opened as a path only`, {
      hint: "give the machine a file, a pipe, a socket or a terminal",
    });
  makeBlocking(target);
  return duplicate(target);
}
