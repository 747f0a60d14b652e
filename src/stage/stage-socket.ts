import { SysError } from "../sys/errno.ts";
import { closeQuietly } from "../sys/files.ts";
import { type Unwatch, watch } from "../sys/poll.ts";
import { type Message, receive, send, shutdownWrites } from "../sys/sockets.ts";
import { SYNC } from "./stage-abi.ts";

/** What the stage says: a sync point (SYNC + its number, a pid, fds) or a failure (program, operation, result). */
export interface StageMessage {
  readonly who: number;
  readonly value: number;
  readonly result: number;
  readonly fds: readonly number[];
}

/** The host's end of the socket to the stage; takes over the fd. */
export class StageSocket {
  #fd: number;
  /** Messages before their turn: the keeper and what it is cloned from both speak, and nothing says who is first. */
  readonly #early = new Map<number, StageMessage>();
  /** Heard, and still to be asked for: from the first wait on the socket is watched, which is dear to begin with. */
  readonly #heard: (StageMessage | null)[] = [];
  #unwatch: Unwatch | undefined;
  #waiting: PromiseWithResolvers<void> | undefined;

  constructor(fd: number) {
    this.#fd = fd;
  }

  tell(sync: number): void {
    const message = Buffer.alloc(8);
    message.writeBigInt64LE(BigInt(SYNC + sync));
    send(this.#fd, message);
  }

  /** The next message; null: end of file, so nobody is left who could send one. */
  async hear(): Promise<StageMessage | null> {
    for (;;) {
      const message = this.#heard.length > 0 ? this.#heard.shift() : this.#receive();
      if (message !== undefined) return message;
      this.#waiting = Promise.withResolvers();
      this.#unwatch ??= watch(this.#fd, { readable: true }, () => this.#take());
      await this.#waiting.promise;
    }
  }

  /** Level triggered: one message a call. */
  #take(): void {
    let message: StageMessage | null | undefined = null;
    try {
      message = this.#receive();
    } catch (error) {
      this.#stopWatching();
      this.#waiting?.reject(error);
      return;
    }
    if (message === undefined) return;
    if (message === null) this.#stopWatching(); // that stays so
    this.#heard.push(message);
    this.#waiting?.resolve();
  }

  #stopWatching(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
  }

  /** The message of a sync point, or a report of a failure that comes before it; null: end of file. */
  async hearSync(sync: number): Promise<StageMessage | null> {
    for (;;) {
      const message = this.take(sync) ?? (await this.hear());
      if (message === null || message.who === SYNC + sync || message.who < SYNC) return message;
      this.#early.set(message.who, message);
    }
  }

  /** The message of a sync point that came before anybody asked for it. */
  take(sync: number): StageMessage | undefined {
    const message = this.#early.get(SYNC + sync);
    this.#early.delete(SYNC + sync);
    return message;
  }

  /** Listens to the end. Returns the reports of failures; what belongs to sync points can be taken then. */
  async hearOut(): Promise<readonly StageMessage[]> {
    const reports: StageMessage[] = [];
    for (let message = await this.hear(); message !== null; message = await this.hear()) this.#sort(message, reports);
    return reports;
  }

  /** The same of what has been said already. */
  hearNow(): readonly StageMessage[] {
    const reports: StageMessage[] = [];
    const next = (): StageMessage | null | undefined => this.#heard.shift() ?? this.#receive();
    for (let message = next(); message != null; message = next()) this.#sort(message, reports);
    return reports;
  }

  #sort(message: StageMessage, reports: StageMessage[]): void {
    if (message.who < SYNC) reports.push(message);
    else this.#early.set(message.who, message);
  }

  /** Undefined: none is there. */
  #receive(): StageMessage | null | undefined {
    const message = this.#receiveNow();
    if (message === null) return undefined;
    if (message.data.length === 0) return null;
    const [who = 0, value = 0, result = 0] = [0, 8, 16].map((at) => Number(message.data.readBigInt64LE(at)));
    return { who, value, result, fds: message.fds };
  }

  /** The kernel says ECONNRESET once, before what is there to read, when the other side has not read everything. */
  #receiveNow(): Message | null {
    try {
      return receive(this.#fd);
    } catch (error) {
      if (error instanceof SysError && error.code === "ECONNRESET") return receive(this.#fd);
      throw error;
    }
  }

  /** We have nothing more to say: the stage reads end of file. */
  endTelling(): void {
    shutdownWrites(this.#fd);
  }

  /** Closes once only: the number may be another fd's by the next time. */
  close(): void {
    this.#stopWatching();
    for (const message of [...this.#heard.splice(0), ...this.#early.values()])
      for (const fd of message?.fds ?? []) closeQuietly(fd);
    this.#early.clear();
    if (this.#fd >= 0) closeQuietly(this.#fd);
    this.#fd = -1;
  }
}
