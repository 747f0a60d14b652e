import { consoleText } from "../spec/console-text.ts";
import { visibleJson } from "../spec/quote.ts";
import type { Frame } from "../supervise/console-log.ts";
import { type LogLine, LogLines } from "../supervise/log-lines.ts";
import { print } from "./output.ts";

/** How what a machine said is shown. */
export interface LogPrinter {
  feed(frames: readonly Frame[]): void;
  /** What was there when it was asked for has come: its last `count` lines are shown. More may come. */
  flush(count: number): void;
  /** Nothing more comes. */
  end(): void;
}

/** Lines with their times, or as JSON: one document of all, or `follow` an object a line. */
export class LinePrinter implements LogPrinter {
  readonly #json: boolean;
  readonly #follow: boolean;
  readonly #lines = new LogLines();
  #held: LogLine[] | undefined = [];

  constructor({ json, follow }: { readonly json: boolean; readonly follow: boolean }) {
    this.#json = json;
    this.#follow = follow;
  }

  feed(frames: readonly Frame[]): void {
    this.#take(this.#lines.feed(frames));
  }

  flush(count: number): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    if (!this.#follow) held.push(...this.#lines.end());
    const last = count === 0 ? [] : held.slice(-count);
    if (this.#json && !this.#follow) print(`${visibleJson(last.map(asJson), 2)}\n`);
    else this.#take(last);
  }

  end(): void {
    this.#take(this.#lines.end());
  }

  #take(lines: readonly LogLine[]): void {
    if (this.#held !== undefined) this.#held.push(...lines);
    else if (lines.length > 0) print(lines.map((line) => `${this.#show(line)}\n`).join(""));
  }

  #show(line: LogLine): string {
    return this.#json ? visibleJson(asJson(line)) : `${timeText(line.time)} ${consoleText(line.text)}`;
  }
}

function asJson({ time, text }: LogLine): { readonly time: string; readonly text: string } {
  return { time: timeText(time), text };
}

function timeText(time: number): string {
  return new Date(time).toISOString();
}

/** The bytes as they came. */
export class RawPrinter implements LogPrinter {
  #held: Buffer[] | undefined = [];

  feed(frames: readonly Frame[]): void {
    for (const { data } of frames) {
      // Of a part that is read over.
      if (this.#held !== undefined) this.#held.push(Buffer.from(data));
      else print(data);
    }
  }

  flush(count: number): void {
    const all = Buffer.concat(this.#held ?? []);
    this.#held = undefined;
    print(all.subarray(beginOfLast(all, count)));
  }

  end(): void {}
}

const NEWLINE = 10;

/** Where the last `count` lines begin. */
function beginOfLast(bytes: Buffer, count: number): number {
  if (count === 0) return bytes.length;
  let end = bytes.at(-1) === NEWLINE ? bytes.length - 1 : bytes.length;
  for (let lines = 0; lines < count; lines++) {
    end = end === 0 ? -1 : bytes.lastIndexOf(NEWLINE, end - 1);
    if (end < 0) return 0;
  }
  return end + 1;
}
