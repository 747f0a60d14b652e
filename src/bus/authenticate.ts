import { BerthError } from "../errors.ts";
import { closeQuietly } from "../sys/files.ts";
import { connectStream, FdStream, type StreamHandlers } from "../sys/unix-stream.ts";

/** A line of the handshake; whoever sends more is no bus. */
const MAX_LINE = 16 << 10;

export interface Authenticated {
  /** It sends messages from here on, to whoever `attach` is called with; what has come already is passed on at once. */
  readonly stream: FdStream;
  readonly attach: (handlers: StreamHandlers) => void;
}

/**
 * Connects to a bus's socket and says who we are: SASL EXTERNAL, which is what the kernel vouches for, and
 * NEGOTIATE_UNIX_FD ("Authentication Protocol").
 * @throws BerthError or SysError; the connection is closed then
 */
export async function authenticate(socket: string, timeoutMs: number): Promise<Authenticated> {
  const conversation = new Conversation(await connectStream(socket), timeoutMs);
  try {
    const uid = Buffer.from(`${process.geteuid?.() ?? 0}`).toString("hex");
    await conversation.ask(`\0AUTH EXTERNAL ${uid}`, "OK", "does not accept who we are");
    await conversation.ask("NEGOTIATE_UNIX_FD", "AGREE_UNIX_FD", "passes no file descriptors");
    return conversation.begin();
  } catch (error) {
    conversation.stream.close();
    throw error;
  }
}

class Conversation {
  readonly stream: FdStream;
  readonly #timeoutMs: number;
  #received: Buffer = Buffer.alloc(0);
  #ended: Error | undefined;
  #wake: (() => void) | undefined;
  #handlers: StreamHandlers | undefined;

  constructor(fd: number, timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    this.stream = new FdStream(fd, {
      onBytes: (bytes, length) => this.#handlers?.onBytes?.(bytes, length) === true,
      onData: (chunk, fds) => this.#onData(chunk, fds),
      onEnd: (error) => this.#onEnd(error),
    });
  }

  async ask(command: string, expected: string, otherwise: string): Promise<void> {
    this.stream.write(Buffer.from(`${command}\r\n`));
    const answer = await this.#line();
    if (answer.split(" ")[0] !== expected)
      throw new BerthError(`the bus ${otherwise}: ${JSON.stringify(answer.slice(0, 100))}`);
  }

  begin(): Authenticated {
    this.stream.write(Buffer.from("BEGIN\r\n"));
    return {
      stream: this.stream,
      attach: (handlers) => {
        this.#handlers = handlers;
        if (this.#received.length > 0) handlers.onData(this.#received, []);
        if (this.stream.closed) handlers.onEnd(this.#ended);
      },
    };
  }

  async #line(): Promise<string> {
    const late = setTimeout(() => this.#onEnd(new BerthError("the bus does not answer")), this.#timeoutMs);
    try {
      for (;;) {
        const end = this.#received.indexOf("\r\n");
        if (end >= 0) {
          const line = this.#received.toString("latin1", 0, end);
          this.#received = this.#received.subarray(end + 2);
          return line;
        }
        if (this.#ended) throw this.#ended;
        if (this.#received.length > MAX_LINE) throw new BerthError("what answers is no bus");
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      clearTimeout(late);
    }
  }

  #onData(chunk: Buffer, fds: number[]): void {
    if (this.#handlers) {
      this.#handlers.onData(chunk, fds);
      return;
    }
    // None belong here.
    for (const fd of fds) closeQuietly(fd);
    this.#received = Buffer.concat([this.#received, chunk]);
    this.#wake?.();
  }

  #onEnd(error?: Error): void {
    this.#ended ??= error ?? new BerthError("the bus closed the connection before it was used");
    if (this.#handlers) this.#handlers.onEnd(error);
    else this.#wake?.();
  }
}
