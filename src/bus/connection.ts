import { closeQuietly } from "../sys/files.ts";
import type { FdStream } from "../sys/unix-stream.ts";
import { socketsOf } from "./address.ts";
import { authenticate } from "./authenticate.ts";
import { DBusError } from "./dbus-error.ts";
import { KnownReads } from "./known-reads.ts";
import type { MatchRule } from "./match-rule.ts";
import {
  ALLOW_INTERACTIVE_AUTHORIZATION,
  closeFdsIn,
  ERROR,
  encode,
  type IncomingMessage,
  METHOD_CALL,
  METHOD_RETURN,
  NO_AUTO_START,
  type Outgoing,
  SIGNAL,
} from "./message.ts";
import { MessageReader } from "./message-reader.ts";
import { NameWatches } from "./name-watches.ts";
import { PendingCalls } from "./pending-calls.ts";
import { BUS_NAME, type SignalMessage, Subscriptions, type Unsubscribe } from "./subscriptions.ts";
import type { Sendable, Values } from "./values.ts";

/** libdbus's default, too. */
const TIMEOUT_MS = 25_000;
const AUTHENTICATION_MS = 10_000;
/** dbus-daemon refuses calls when 128 of a connection are not answered. */
const OUTSTANDING = 64;
const DO_NOT_QUEUE = 4;

/** Calls of one read, 64 kB at most, after which others have their turn. */
const CALLS_A_TURN = 32;

export interface ConnectionOptions {
  readonly authenticationMs?: number;
  readonly outstanding?: number;
  /** What is worth a line in the log but nobody's error. */
  readonly log?: (text: string) => void;
}

/** A method call. `I` and `O` are the signatures of what is sent and of what has to come back. */
export interface Request<I extends string, O extends string> {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly in: I;
  /** fds among them are the connection's from here: it closes them when they are sent. */
  readonly args: Sendable<I>;
  readonly out: O;
  /** Infinity: as long as it takes. */
  readonly timeoutMs?: number;
  /** Whoever is called may ask the user for a password. */
  readonly interactive?: boolean;
  readonly autoStart?: boolean;
}

/** One connection to a bus, from `open` to its end. It does not come back: BusLink makes another one. */
export class Connection {
  readonly #stream: FdStream;
  readonly #reader = new MessageReader();
  readonly #calls: PendingCalls;
  readonly #subscriptions: Subscriptions;
  readonly #log: (text: string) => void;
  /** Calls that it answers itself. */
  readonly known = new KnownReads();
  #serial = 0;
  /** Calls that have come. */
  #called = 0;
  #name = "";
  #onCall: ((call: IncomingMessage) => void) | undefined;
  #end: (error: Error | undefined) => void = () => undefined;
  readonly #watches: NameWatches;
  #isEnded = false;
  /** Resolves when the connection is gone, to the reason where there is one; undefined after `close`. */
  readonly ended: Promise<Error | undefined> = new Promise((resolve) => {
    this.#end = resolve;
  });

  private constructor(stream: FdStream, options: ConnectionOptions) {
    this.#stream = stream;
    this.#calls = new PendingCalls(options.outstanding ?? OUTSTANDING);
    this.#log = options.log ?? (() => undefined);
    this.#subscriptions = new Subscriptions(
      {
        addMatch: async (rule) => void (await this.#bus("AddMatch", "s", [rule], "")),
        removeMatch: async (rule) => void (await this.#bus("RemoveMatch", "s", [rule], "")),
        ownerOf: (name) => this.#ownerOf(name),
      },
      this.#log,
    );
    this.#watches = new NameWatches({
      subscribe: (rule, listener) => this.subscribe(rule, listener),
      ownerOf: (name) => this.#ownerOf(name),
    });
  }

  /** Connects to the first socket of the address that answers. @throws the error of the last one */
  static async open(address: string, options: ConnectionOptions = {}): Promise<Connection> {
    const sockets = socketsOf(address);
    for (const [index, socket] of sockets.entries()) {
      try {
        return await Connection.#openSocket(socket, options);
      } catch (error) {
        if (index === sockets.length - 1) throw error;
      }
    }
    throw new Error("an address has a socket");
  }

  static async #openSocket(socket: string, options: ConnectionOptions): Promise<Connection> {
    const timeoutMs = options.authenticationMs ?? AUTHENTICATION_MS;
    const { stream, attach } = await authenticate(socket, timeoutMs);
    const connection = new Connection(stream, options);
    attach({
      onBytes: (bytes, length) => connection.#answers(bytes, length),
      onData: (chunk, fds) => connection.#onData(chunk, fds),
      onEnd: (error) => connection.#finish(error ?? new Error("the bus closed the connection")),
    });
    try {
      const [name] = await connection.#bus("Hello", "", [], "s", timeoutMs);
      connection.#name = name;
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Our unique name. */
  get name(): string {
    return this.#name;
  }

  get closed(): boolean {
    return this.#isEnded;
  }

  /** Calls that were sent and not answered. */
  get outstanding(): number {
    return this.#calls.outstanding;
  }

  /** Who answers method calls; until then nobody knows us. */
  set onCall(handler: ((call: IncomingMessage) => void) | undefined) {
    this.#onCall = handler;
  }

  /**
   * Calls a method. fds in the answer are the caller's; without an h in `out` there are none.
   * @throws DBusError of whoever is called; NoReply after the timeout; Disconnected when the connection is gone
   */
  async call<const I extends string, const O extends string>(request: Request<I, O>): Promise<Values<O>> {
    const { destination, path, member, out } = request;
    const flags =
      (request.interactive ? ALLOW_INTERACTIVE_AUTHORIZATION : 0) | (request.autoStart === false ? NO_AUTO_START : 0);
    const message = {
      type: METHOD_CALL,
      flags,
      destination,
      path,
      interface: request.interface,
      member,
      signature: request.in,
      body: request.args,
    };
    let sent = false;
    const send = (): number => {
      sent = true;
      return this.send(message);
    };
    const reply = await this.#calls
      .add(`${member} of ${destination}`, request.timeoutMs ?? TIMEOUT_MS, send)
      .finally(() => {
        if (!sent) closeFdsIn(message);
      });
    if (reply.header.signature !== out) {
      reply.closeFds();
      throw new DBusError(
        "InvalidSignature",
        `${member} of ${destination} answered "${reply.header.signature}" and not "${out}"`,
      );
    }
    const values = reply.read();
    if (!out.includes("h")) reply.closeFds();
    // Values of what the signature says are what the reader makes.
    return values as readonly unknown[] as Values<O>;
  }

  /** Sends a message; answers its serial. @throws Error when its body does not fit, or the connection is gone */
  send(message: Omit<Outgoing, "serial">): number {
    const serial = this.#nextSerial();
    const { bytes, fds } = encode({ ...message, serial });
    this.#stream.write(bytes, fds);
    return serial;
  }

  /** 0 is none, and 2^32 does not fit. */
  #nextSerial(): number {
    this.#serial = (this.#serial % 0xffffffff) + 1;
    return this.#serial;
  }

  /** A signal to all who listen, or to `destination` alone. */
  emit(signal: {
    readonly path: string;
    readonly interface: string;
    readonly member: string;
    readonly signature: string;
    readonly body: readonly unknown[];
    readonly destination?: string;
  }): void {
    this.send({ type: SIGNAL, ...signal });
  }

  reply(call: IncomingMessage, signature: string, body: readonly unknown[]): void {
    const { serial: replySerial, sender: destination } = call.header;
    this.send({ type: METHOD_RETURN, replySerial, destination, signature, body });
  }

  replyError(call: IncomingMessage, errorName: string, text: string): void {
    const { serial: replySerial, sender: destination } = call.header;
    this.send({ type: ERROR, replySerial, destination, errorName, signature: "s", body: [text] });
  }

  /** Listens to signals; resolves when none can be missed any more. fds in a signal are closed. */
  subscribe(rule: MatchRule, listener: (signal: SignalMessage) => void): Promise<Unsubscribe> {
    return this.#subscriptions.add(rule, listener);
  }

  /** Calls back once when a name (a caller's unique one) has no owner any more, or the bus has gone; at once where it has none now. */
  watchName(name: string, onGone: () => void): Promise<Unsubscribe> {
    return this.#watches.add(name, onGone);
  }

  /** Takes a name. "taken": somebody else has it, and we do not wait for it. */
  async requestName(name: string): Promise<"ours" | "taken"> {
    const [result] = await this.#bus("RequestName", "su", [name, DO_NOT_QUEUE], "u");
    return result === 1 || result === 4 ? "ours" : "taken";
  }

  async releaseName(name: string): Promise<void> {
    await this.#bus("ReleaseName", "s", [name], "u");
  }

  /** Resolves when all that was sent is on its way. */
  flush(): Promise<void> {
    return this.#stream.flush();
  }

  /** Calls that wait are rejected; `flush` before it. */
  close(): void {
    this.#finish(undefined);
  }

  /** A call to the bus itself. */
  #bus<const I extends string, const O extends string>(
    member: string,
    signature: I,
    args: Sendable<I>,
    out: O,
    timeoutMs = TIMEOUT_MS,
  ): Promise<Values<O>> {
    const [destination, path] = [BUS_NAME, "/org/freedesktop/DBus"];
    return this.call<I, O>({ destination, path, interface: BUS_NAME, member, in: signature, args, out, timeoutMs });
  }

  async #ownerOf(name: string): Promise<string | undefined> {
    try {
      return (await this.#bus("GetNameOwner", "s", [name], "s"))[0];
    } catch (error) {
      if (error instanceof DBusError && error.errorName.endsWith(".NameHasNoOwner")) return undefined;
      throw error;
    }
  }

  /** Whether they were one call, all of it, whose answer is known. */
  #answers(bytes: Buffer, length: number): boolean {
    // What waits to be sent may be such an answer, whose bytes have to stay as they are.
    if (this.#isEnded || !this.#reader.isBetween || this.#stream.queued > 0) return false;
    const answer = this.known.answer(bytes, length, this.#nextSerial());
    if (answer !== undefined) this.#stream.write(answer);
    return answer !== undefined;
  }

  #onData(chunk: Buffer, fds: number[]): void {
    if (this.#isEnded) {
      for (const fd of fds) closeQuietly(fd);
      return;
    }
    const before = this.#called;
    try {
      this.#reader.push(chunk, fds, (message) => this.#onMessage(message));
      if (this.#called - before >= CALLS_A_TURN) this.#rest();
    } catch (error) {
      this.#finish(new Error(`the bus sent what can't be read: ${(error as Error).message}`));
    }
  }

  /** Who sends calls by the thousand must not keep all others from their turn of the event loop. */
  #rest(): void {
    if (this.#isEnded) return;
    this.#stream.pause();
    setImmediate(() => {
      if (!this.#isEnded) this.#stream.resume();
    });
  }

  #onMessage(message: IncomingMessage): void {
    const { type } = message.header;
    if (this.#isEnded) message.closeFds();
    else if (type === METHOD_RETURN || type === ERROR) this.#calls.settle(message);
    else if (type === SIGNAL) this.#subscriptions.deliver(message);
    else if (type === METHOD_CALL) this.#handle(message);
    else message.closeFds();
  }

  #handle(call: IncomingMessage): void {
    this.#called++;
    try {
      if (this.#onCall) {
        this.#onCall(call);
        return;
      }
      call.closeFds();
      this.replyError(call, "org.freedesktop.DBus.Error.UnknownObject", "There are no objects here.");
    } catch (error) {
      call.closeFds();
      this.#log(`a call of ${call.header.member} was lost: ${String(error)}`);
    }
  }

  #finish(error: Error | undefined): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#stream.close();
    this.#reader.close();
    this.#calls.end(
      new DBusError(
        "Disconnected",
        error ? `the connection to the bus is gone: ${error.message}` : "the connection to the bus was closed",
      ),
    );
    this.#watches.end();
    this.#end(error);
  }
}
