import type { Readable } from "node:stream";

/** More of a line a person would not read. */
const LINE_LENGTH = 240;
/** Of a longer one its end is shown too: what is wrong with a long name comes after it. */
const LINE_END = 80;
const TAIL_LINES = 100;

export interface OutputOptions {
  readonly onLine?: (line: string) => void;
  /** More of a line is nobody's to know; by default what a person would read. */
  readonly lineMax?: number;
  /** What the program writes to stdout, as it comes, in place of lines; those are what it says on stderr then. */
  readonly onOutput?: (chunk: Buffer) => void;
}

/** What a program says, by line and safe to print. */
export class CommandOutput {
  /** The last lines of stdout and stderr together. */
  readonly tail: string[] = [];
  readonly #options: OutputOptions;

  constructor(options: OutputOptions) {
    this.#options = options;
  }

  /** Null: it goes elsewhere. */
  read(stdout: Readable | null, stderr: Readable | null): void {
    const { onOutput } = this.#options;
    if (onOutput !== undefined) stdout?.on("data", onOutput);
    else this.#byLine(stdout);
    this.#byLine(stderr);
  }

  /** Of a line without end no more is kept than of any other. */
  #byLine(stream: Readable | null): void {
    const { lineMax } = this.#options;
    const cut = lineMax === undefined ? shortened : (line: string): string => line.slice(0, lineMax);
    let pending = "";
    stream?.setEncoding("utf8");
    stream?.on("data", (text: string) => {
      const lines = (pending + text).split(/\r\n|\n|\r/);
      pending = cut(lines.pop() ?? "");
      for (const line of lines) this.#take(cut(line));
    });
    stream?.once("end", () => pending !== "" && this.#take(pending));
  }

  #take(raw: string): void {
    const line = raw.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu, "?");
    this.tail.push(line);
    if (this.tail.length > TAIL_LINES) this.tail.shift();
    this.#options.onLine?.(line);
  }
}

/** Of one that comes in parts: what was shortened and is added to is shortened to the same as the whole. */
function shortened(line: string): string {
  return line.length > LINE_LENGTH ? `${line.slice(0, LINE_LENGTH - LINE_END - 1)}…${line.slice(-LINE_END)}` : line;
}
