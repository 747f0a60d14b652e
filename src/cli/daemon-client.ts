import { closeSync, constants, openSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import { type Paths, realPath } from "../host/paths.ts";
import { type MethodName, type Methods, type Places, type Reply, SOCKET, type WireError } from "../manager/protocol.ts";

interface Waiting {
  readonly onEvent: (event: unknown) => void;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

interface CallOptions<M extends MethodName> {
  readonly onEvent?: (event: Methods[M]["event"]) => void;
  readonly signal?: AbortSignal;
}

/** A connection to berthd. */
export class DaemonClient {
  readonly #socket: Socket;
  readonly #places: Places;
  readonly #waiting = new Map<number, Waiting>();
  #last = 0;
  #rest = "";
  #error: Error | undefined;

  private constructor(socket: Socket, { etc, machines }: Places) {
    this.#socket = socket;
    this.#places = { etc: realPath(etc), machines: realPath(machines) };
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => this.#take(text));
    // What its end looks like depends on what was just being said.
    socket.on("error", (error: Error) => this.#end(new DaemonGone(error)));
    socket.on("close", () => this.#end(new DaemonGone()));
  }

  /** One that another program has made; its requests are 1 to `asked`, and to be given up should it end before this. */
  static takeOver(fd: number, asked: number, paths: Paths): DaemonClient {
    const client = new DaemonClient(new Socket({ fd }), paths);
    client.#last = asked;
    // What has been answered is heard first: it may be berthd's last.
    setImmediate(() => {
      for (const id of client.#waiting.keys()) client.#send({ id, cancelIfGone: false });
    });
    return client;
  }

  /** Null: there is none. */
  static async connect(paths: Paths): Promise<DaemonClient | null> {
    let directory: number;
    try {
      directory = openSync(paths.run, constants.O_DIRECTORY);
    } catch (error) {
      if (errorCode(error) === "ENOENT") return null;
      throw unreachable(`${paths.run}: ${errorCode(error)}`, error);
    }
    try {
      // Through the directory's fd: a socket's path may have 107 bytes only.
      return await open(`/proc/self/fd/${directory}/${SOCKET}`);
    } finally {
      closeSync(directory);
    }

    function open(path: string): Promise<DaemonClient | null> {
      const socket = new Socket();
      return new Promise((resolve, reject) => {
        socket.once("error", (error) => {
          const code = errorCode(error);
          // Reset: by one that has just ended.
          if (code === "ENOENT" || code === "ECONNREFUSED" || code === "ECONNRESET") resolve(null);
          else reject(unreachable(`${join(paths.run, SOCKET)}: ${code ?? error.message}`, error));
        });
        socket.connect(path, () => {
          socket.removeAllListeners("error");
          resolve(new DaemonClient(socket, paths));
        });
      });
    }
  }

  /** Resolves to what the daemon answers. @throws BerthError, the daemon's own or that it has gone */
  call<M extends MethodName>(
    method: M,
    params: Methods[M]["params"],
    options: CallOptions<M> = {},
  ): Promise<Methods[M]["result"]> {
    const id = ++this.#last;
    if (this.#error !== undefined) return Promise.reject(this.#error);
    this.#send({ id, method, params, places: this.#places });
    return this.answer(id, options);
  }

  /** What the daemon answers to a request that has been made, as of `call`. */
  answer<M extends MethodName>(id: number, { onEvent, signal }: CallOptions<M>): Promise<Methods[M]["result"]> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, {
        onEvent: (event) => onEvent?.(event as Methods[M]["event"]),
        resolve: (result) => resolve(result as Methods[M]["result"]),
        reject: (error) => reject(signal?.aborted === true ? (signal.reason as Error) : error),
      });
      // Its answer is that it was given up, when all is undone.
      const cancel = (): void => this.#send({ id, cancel: true });
      signal?.addEventListener("abort", cancel, { once: true });
      if (signal?.aborted === true) cancel();
    });
  }

  /** For the command of the `exec` that was called last. */
  signal(signal: number): void {
    this.#send({ id: this.#last, signal });
  }

  /** Resolves when the daemon has closed the connection. */
  gone(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#socket.closed) resolve();
      else this.#socket.once("close", () => resolve());
    });
  }

  close(): void {
    this.#socket.removeAllListeners("close");
    this.#socket.destroy();
  }

  #send(message: object): void {
    this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#hear(JSON.parse(line) as Reply);
  }

  #hear(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id);
    if (waiting === undefined) return;
    if ("event" in reply) {
      waiting.onEvent(reply.event);
      return;
    }
    this.#waiting.delete(reply.id);
    if ("result" in reply) waiting.resolve(reply.result);
    else waiting.reject(errorOf(reply.error));
  }

  #end(error: Error): void {
    this.#error ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#error);
    this.#waiting.clear();
  }
}

function unreachable(what: string, cause: unknown): BerthError {
  const hint = errorCode(cause) === "EACCES" ? "run this as root" : undefined;
  return new BerthError(`berthd can't be reached: ${what}`, { hint, cause });
}

/** It ended, or was killed, before it had answered. */
export class DaemonGone extends BerthError {
  constructor(cause?: Error) {
    super("berthd has gone", { hint: "berth daemon status", cause });
  }
}

function errorOf({ message, hint, kind, exitStatus }: WireError): BerthError {
  return new BerthError(message, { hint: hint ?? undefined, kind: kind ?? undefined, exitStatus });
}
