import type { Readable } from "node:stream";
import { CallerTerminal } from "./caller-terminal.ts";
import { SteadyOutput } from "./steady-output.ts";
import { type Colour, TerminalBackground } from "./terminal-look.ts";

/** A reader that takes nothing for so long, once the end was asked for, is not waited for any more. */
const PATIENCE_MS = 3000;

/** Where the one who called berth sits. */
export interface Caller {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: SteadyOutput;
  readonly stderr: SteadyOutput;
  readonly terminal: CallerTerminal;
}

/** Of this process. What it has is made when somebody asks for it: stdin, a stream of Node's, takes 3 ms. */
export class ProcessCaller implements Caller {
  readonly terminal: CallerTerminal;
  #stdout: SteadyOutput | undefined;
  #stderr: SteadyOutput | undefined;
  #hurries = false;

  /** `background`: of the terminal, while a machine has it. */
  constructor(background: Colour | null = null) {
    this.terminal = new CallerTerminal(
      background === null ? undefined : (fd) => new TerminalBackground(fd, background),
    );
  }

  get stdin(): NodeJS.ReadStream {
    return process.stdin;
  }

  get stdout(): SteadyOutput {
    this.#stdout ??= this.#open(1);
    return this.#stdout;
  }

  get stderr(): SteadyOutput {
    this.#stderr ??= this.#open(2);
    return this.#stderr;
  }

  #open(fd: number): SteadyOutput {
    const output = new SteadyOutput(fd);
    if (this.#hurries) output.hurry(PATIENCE_MS);
    return output;
  }

  /** All that was written has been taken, or its reader is gone or given up. */
  async flushed(): Promise<void> {
    await Promise.all(this.#outputs.map((output) => output.flushed()));
  }

  /** berth has been asked to end: from now on it waits for a reader that reads, and not for long for one that does not. */
  hurry(): void {
    this.#hurries = true;
    for (const output of this.#outputs) output.hurry(PATIENCE_MS);
  }

  /** berth is to end now. */
  giveUp(): void {
    for (const output of this.#outputs) output.giveUp();
  }

  close(): void {
    for (const output of this.#outputs) output.close();
  }

  get #outputs(): readonly SteadyOutput[] {
    return [this.#stdout, this.#stderr].filter((output) => output !== undefined);
  }
}
