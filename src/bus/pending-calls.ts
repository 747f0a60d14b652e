import { DBusError } from "./dbus-error.ts";
import { ERROR, type IncomingMessage } from "./message.ts";

interface Pending {
  readonly resolve: (reply: IncomingMessage) => void;
  readonly reject: (error: Error) => void;
  readonly subject: string;
  readonly timer: NodeJS.Timeout | undefined;
}

interface Waiting {
  /** Sends the call; answers its serial. */
  readonly send: () => number;
  readonly pending: Pending;
}

/**
 * Calls that were sent and not answered, and those that wait for their turn: dbus-daemon refuses what goes beyond its
 * own limit (128 by default). Each is settled exactly once: by its reply, its timeout, or the end of the connection.
 */
export class PendingCalls {
  readonly #limit: number;
  readonly #sent = new Map<number, Pending>();
  readonly #waiting: Waiting[] = [];
  #ended: Error | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get outstanding(): number {
    return this.#sent.size;
  }

  /** `subject` says in messages what was called. `timeoutMs` counts from now. */
  add(subject: string, timeoutMs: number, send: () => number): Promise<IncomingMessage> {
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      const late = (): void => {
        this.#forget(pending);
        reject(new DBusError("NoReply", `${subject} was not answered within ${timeoutMs / 1000} s`));
      };
      const timer = Number.isFinite(timeoutMs) ? setTimeout(late, timeoutMs) : undefined;
      const pending: Pending = { resolve, reject, subject, timer };
      this.#waiting.push({ send, pending });
      this.#sendMore();
    });
  }

  /** A reply or an error. One that nobody waits for is dropped, with its fds. */
  settle(message: IncomingMessage): void {
    const serial = message.header.replySerial ?? 0;
    const pending = this.#sent.get(serial);
    if (!pending) {
      message.closeFds();
      return;
    }
    this.#sent.delete(serial);
    clearTimeout(pending.timer);
    if (message.header.type === ERROR) pending.reject(errorOf(message));
    else pending.resolve(message);
    this.#sendMore();
  }

  /** The connection is gone, for this reason: nobody waits any longer, and no call is taken any more. */
  end(error: Error): void {
    this.#ended = error;
    const all = [...this.#sent.values(), ...this.#waiting.splice(0).map(({ pending }) => pending)];
    this.#sent.clear();
    for (const { reject, timer } of all) {
      clearTimeout(timer);
      reject(error);
    }
  }

  #sendMore(): void {
    while (this.#sent.size < this.#limit) {
      const next = this.#waiting.shift();
      if (!next) return;
      try {
        this.#sent.set(next.send(), next.pending);
      } catch (error) {
        clearTimeout(next.pending.timer);
        next.pending.reject(error instanceof Error ? error : new Error(String(error)));
      }
    }
  }

  #forget(pending: Pending): void {
    const waiting = this.#waiting.findIndex((one) => one.pending === pending);
    if (waiting >= 0) this.#waiting.splice(waiting, 1);
    for (const [serial, one] of this.#sent) if (one === pending) this.#sent.delete(serial);
    this.#sendMore();
  }
}

function errorOf(message: IncomingMessage): DBusError {
  const name = message.header.errorName ?? "org.freedesktop.DBus.Error.Failed";
  try {
    const [text] = message.header.signature.startsWith("s") ? message.read() : [];
    return new DBusError(name, typeof text === "string" && text !== "" ? text : name);
  } catch {
    return new DBusError(name, name);
  } finally {
    message.closeFds();
  }
}
