import { openSteady, type SteadyFd } from "../sys/steady-fd.ts";

/** Red, green and blue, 0 to 255. */
export type Colour = readonly [number, number, number];

/** What a terminal that is lent looks like, until it is taken back or its user's shell has it for a while. */
export interface TerminalLook {
  show(): void;
  putBack(): void;
  close(): void;
}

/**
 * The colour that a terminal shows where nothing else is asked for. By OSC 11 and 111 of xterm, which most terminals know
 * and the others pass over: what the machine shows need not be read and changed for it.
 */
export class TerminalBackground implements TerminalLook {
  readonly #colour: Colour;
  readonly #to: Sequences;

  constructor(fd: number, colour: Colour) {
    this.#to = new Sequences(fd);
    this.#colour = colour;
  }

  show(): void {
    const hex = this.#colour.map((part) => part.toString(16).padStart(2, "0"));
    this.#to.write(`\x1b]11;rgb:${hex.join("/")}\x1b\\`);
  }

  putBack(): void {
    this.#to.write("\x1b]111\x1b\\");
  }

  close(): void {
    this.#to.close();
  }
}

/** A screen of its own (xterm's alternate one) without a cursor: what was shown before comes back after it. */
export class FullScreen implements TerminalLook {
  readonly #to: Sequences;

  constructor(fd: number) {
    this.#to = new Sequences(fd);
  }

  show(): void {
    this.#to.write("\x1b[?1049h\x1b[?25l\x1b[?7l");
  }

  putBack(): void {
    this.#to.write("\x1b[?7h\x1b[?25h\x1b[?1049l");
  }

  close(): void {
    this.#to.close();
  }
}

/** A terminal that stands still, or was hung up, does without. */
class Sequences {
  readonly #fd: number;
  #to: SteadyFd | undefined;

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(sequence: string): void {
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
