import { type Unwatch, watch } from "../sys/poll.ts";
import { openSteady, type SteadyFd } from "../sys/steady-fd.ts";

/** Bytes that wait for the reader. From here on whoever writes is asked to wait too. */
const BUFFERED = 64 << 10;

/**
 * One of the caller's outputs. A reader that stands still holds back whoever writes here, and nothing else: Node's own
 * process.stdout would wait in write(2) for a terminal that was stopped, and no signal is heard meanwhile. No stream of
 * Node's either: to load those takes longer than all that `berth run /bin/true` has to say.
 */
export class SteadyOutput {
  readonly #to: SteadyFd;
  readonly #queue: Buffer[] = [];
  #queued = 0;
  #unwatch: Unwatch | undefined;
  #patience: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** open: it may be written to. lost: the reader is gone or given up. ending: closed as soon as all is taken. */
  #state: "open" | "ending" | "lost" | "closed" = "open";
  #failure: Error | undefined;
  readonly #losers = new Set<(error: Error) => void>();
  #drained: (() => void)[] = [];
  #flushed: (() => void)[] = [];

  /** `fd` stays the caller's. */
  constructor(fd: number) {
    this.#to = openSteady(fd);
  }

  /**
   * Never waits, never throws, and may be given a buffer that is used again. False: much has not been taken yet, and
   * more should not be written before `whenDrained`. What is written to a lost reader goes nowhere.
   */
  write(data: Buffer | string): boolean {
    if (this.#state !== "open") return true;
    let rest = typeof data === "string" ? Buffer.from(data) : data;
    if (this.#queued === 0) rest = rest.subarray(this.#offer(rest));
    if (rest.length > 0 && this.#state === "open") {
      this.#queue.push(Buffer.from(rest));
      this.#queued += rest.length;
      this.#wait();
    }
    return this.#queued < BUFFERED;
  }

  /** Once, when there is room again, or nobody left to wait for. */
  whenDrained(callback: () => void): void {
    if (this.#queued < BUFFERED) callback();
    else this.#drained.push(callback);
  }

  /** Resolves when all that was written has been taken, or never will be. */
  flushed(): Promise<void> {
    return this.#queued === 0 ? Promise.resolve() : new Promise((resolve) => this.#flushed.push(resolve));
  }

  /** Calls back when the reader is gone (EPIPE mostly), at once if it is already. Returns how to stop listening. */
  onLost(callback: (error: Error) => void): () => void {
    if (this.#failure !== undefined) callback(this.#failure);
    this.#losers.add(callback);
    return () => this.#losers.delete(callback);
  }

  /** From now on a reader that takes nothing for `patience` ms is given up. */
  hurry(patience: number): void {
    this.#patience ??= patience;
    if (this.#unwatch !== undefined) this.#wait();
  }

  /** What has not been taken, and all that comes, goes nowhere. */
  giveUp(): void {
    if (this.#state === "open" || this.#state === "ending") this.#lose();
  }

  /** No more comes: the reader sees the end when it has taken the rest. */
  end(): void {
    if (this.#state !== "open") return;
    this.#state = "ending";
    if (this.#queued === 0) this.close();
  }

  close(): void {
    if (this.#state === "closed") return;
    this.#lose();
    this.#state = "closed";
    this.#to.close();
  }

  /** Bytes that were taken of it. */
  #offer(chunk: Buffer): number {
    let taken = 0;
    try {
      while (taken < chunk.length) {
        const written = this.#to.write(taken === 0 ? chunk : chunk.subarray(taken));
        if (written === 0) break;
        taken += written;
      }
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
      this.#lose();
      for (const callback of [...this.#losers]) callback(this.#failure);
    }
    return taken;
  }

  #go(): void {
    for (let chunk = this.#queue[0]; chunk !== undefined; chunk = this.#queue[0]) {
      const taken = this.#offer(chunk);
      if (this.#queued === 0) return; // it is lost
      this.#queued -= taken;
      if (taken > 0) this.#rests();
      if (taken < chunk.length) {
        this.#queue[0] = chunk.subarray(taken);
        this.#wait();
        break;
      }
      this.#queue.shift();
    }
    this.#tell();
    if (this.#queued === 0 && this.#state === "ending") this.close();
  }

  #wait(): void {
    this.#unwatch ??= watch(this.#to.fd, { writable: true }, () => this.#go());
    if (this.#patience !== undefined) this.#timer ??= setTimeout(() => this.giveUp(), this.#patience);
  }

  #lose(): void {
    this.#state = "lost";
    this.#queue.length = 0;
    this.#queued = 0;
    this.#rests();
    this.#tell();
  }

  #tell(): void {
    if (this.#queued === 0) for (const callback of this.#flushed.splice(0)) callback();
    if (this.#queued < BUFFERED) for (const callback of this.#drained.splice(0)) callback();
  }

  #rests(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
