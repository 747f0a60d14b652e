import type { Frame } from "./console-log.ts";

/** A line of a console. */
export interface LogLine {
  /** When it was begun, ms since the epoch. */
  readonly time: number;
  /** As it was said, without its end. */
  readonly text: string;
}

/** Bytes of a line: a longer one is several. */
const LINE_MAX = 8192;
const NEWLINE = 10;

/** Makes lines of the pieces of a console log. */
export class LogLines {
  #begun: Buffer[] = [];
  #length = 0;
  #time = 0;

  /** Those that are complete now. */
  feed(frames: readonly Frame[]): readonly LogLine[] {
    return frames.flatMap((frame) => this.#cut(frame));
  }

  /** What has been begun. */
  end(): readonly LogLine[] {
    return this.#length === 0 ? [] : [this.#line()];
  }

  #cut({ time, data }: Frame): readonly LogLine[] {
    const lines: LogLine[] = [];
    for (let rest = data; rest.length > 0; ) {
      if (this.#length === 0) this.#time = time;
      const newline = rest.indexOf(NEWLINE);
      const end = Math.min(newline < 0 ? rest.length : newline, LINE_MAX - this.#length);
      this.#begun.push(rest.subarray(0, end));
      this.#length += end;
      const whole = newline === end;
      if (whole || this.#length >= LINE_MAX) lines.push(this.#line());
      rest = rest.subarray(whole ? end + 1 : end);
    }
    return lines;
  }

  #line(): LogLine {
    const text = Buffer.concat(this.#begun).toString("utf8").replace(/\r$/, "");
    [this.#begun, this.#length] = [[], 0];
    return { time: this.#time, text };
  }
}
