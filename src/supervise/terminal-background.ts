import { openSteady, type SteadyFd } from "../sys/steady-fd.ts";

/** Red, green and blue, 0 to 255. */
export type Colour = readonly [number, number, number];

/**
 * The colour that a terminal shows where nothing else is asked for. By OSC 11 and 111 of xterm, which most terminals know
 * and the others pass over: what the machine shows need not be read and changed for it.
 */
export class TerminalBackground {
  readonly #fd: number;
  readonly #colour: Colour;
  #to: SteadyFd | undefined;

  constructor(fd: number, colour: Colour) {
    this.#fd = fd;
    this.#colour = colour;
  }

  show(): void {
    const hex = this.#colour.map((part) => part.toString(16).padStart(2, "0"));
    this.#write(`\x1b]11;rgb:${hex.join("/")}\x1b\\`);
  }

  putBack(): void {
    this.#write("\x1b]111\x1b\\");
  }

  /** A terminal that stands still, or was hung up, does without. */
  #write(sequence: string): void {
    try {
      this.#to ??= openSteady(this.#fd);
      this.#to.write(Buffer.from(sequence));
    } catch {
      // it is gone
    }
  }

  close(): void {
    this.#to?.close();
    this.#to = undefined;
  }
}
