import type { Readable, Writable } from "node:stream";
import { CallerTerminal } from "./caller-terminal.ts";
import { flushed, SteadyOutput } from "./steady-output.ts";

/** A reader that takes nothing for so long, once the end was asked for, is not waited for any more. */
const PATIENCE_MS = 3000;

/** Where the one who called berth sits. */
export interface Caller {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly terminal: CallerTerminal;
}

/** Of this process. Its streams are made when somebody asks for them: stdin alone takes 2 ms. */
export class ProcessCaller implements Caller {
  readonly terminal = new CallerTerminal();
  #stdout: SteadyOutput | undefined;
  #stderr: SteadyOutput | undefined;

  get stdin(): NodeJS.ReadStream {
    return process.stdin;
  }

  get stdout(): SteadyOutput {
    this.#stdout ??= output(1);
    return this.#stdout;
  }

  get stderr(): SteadyOutput {
    this.#stderr ??= output(2);
    return this.#stderr;
  }

  /** All that was written has been taken, or its reader is gone or given up. */
  async flushed(): Promise<void> {
    await Promise.all(this.#outputs.map(flushed));
  }

  /** berth has been asked to end: from now on it waits for a reader that reads, and not for long for one that does not. */
  hurry(): void {
    for (const stream of this.#outputs) stream.hurry(PATIENCE_MS);
  }

  /** berth is to end now. */
  giveUp(): void {
    for (const stream of this.#outputs) stream.giveUp();
  }

  close(): void {
    for (const stream of this.#outputs) stream.destroy();
  }

  get #outputs(): readonly SteadyOutput[] {
    return [this.#stdout, this.#stderr].filter((stream) => stream !== undefined);
  }
}

/** Who has to know that its reader is gone listens too. */
function output(fd: number): SteadyOutput {
  return new SteadyOutput(fd).on("error", () => undefined);
}
