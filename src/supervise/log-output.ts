import type { Frame } from "./console-log.ts";
import type { ConsoleOutput } from "./fd-reader.ts";
import { LogFollower } from "./log-follower.ts";

/** What a machine shows on its console from now on, by the log that its keeper writes: for as many readers as want it. */
export class LogOutput implements ConsoleOutput {
  readonly #directory: string;
  readonly #shown: number;
  #follower: LogFollower | undefined;
  #take: ((chunk: Buffer) => boolean) | undefined;
  /** What was there before, as far as it will be shown. */
  #before: Buffer[] | undefined = [];
  #length = 0;
  #closed = false;
  #ended: (() => void)[] = [];

  /** `shown`: bytes of what was said before that are shown first, from the begin of a line on. */
  constructor(directory: string, shown: number) {
    this.#directory = directory;
    this.#shown = shown;
  }

  get closed(): boolean {
    return this.#closed;
  }

  start(take: (chunk: Buffer) => boolean): void {
    this.#take = take;
    this.#follower = new LogFollower(this.#directory, {
      onFrames: (frames) => this.#pass(frames),
      onCaughtUp: () => this.#catchUp(),
      onEnd: () => this.close(),
    });
  }

  resume(): void {
    if (!this.#closed) this.#follower?.resume();
  }

  ended(): Promise<void> {
    return this.#closed ? Promise.resolve() : new Promise((resolve) => this.#ended.push(resolve));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#follower?.close();
    for (const callback of this.#ended.splice(0)) callback();
  }

  #pass(frames: readonly Frame[]): boolean {
    const data = Buffer.concat(frames.map((frame) => frame.data));
    if (this.#before === undefined) return this.#take?.(data) ?? true;
    this.#before.push(data);
    this.#length += data.length;
    while (this.#length - (this.#before[0]?.length ?? 0) >= this.#shown)
      this.#length -= this.#before.shift()?.length ?? 0;
    return true;
  }

  #catchUp(): void {
    const all = Buffer.concat(this.#before ?? []);
    this.#before = undefined;
    const from = Math.max(0, all.length - this.#shown);
    const begin = from === 0 ? 0 : all.indexOf(NEWLINE, from) + 1;
    if (begin < all.length) this.#take?.(all.subarray(begin));
  }
}

const NEWLINE = 10;
