import { BerthError } from "../errors.ts";
import { closeQuietly } from "../sys/files.ts";
import { type Unwatch, watch } from "../sys/poll.ts";
import { acceptStream, listenStream } from "../sys/unix-stream.ts";
import { ClientConnection } from "./client-connection.ts";
import type { Logger } from "./log.ts";
import type { Daemon } from "./methods.ts";

/** More clients than anybody has; who comes then waits in the socket's backlog. */
const CLIENTS_MAX = 1000;

/** The daemon's own socket, which works without any bus: see protocol.ts. */
export class SocketServer {
  readonly #daemon: Daemon;
  readonly #log: Logger;
  readonly #fd: number;
  readonly #clients = new Set<ClientConnection>();
  #unwatch: Unwatch | undefined;
  #pause: NodeJS.Timeout | undefined;

  constructor(path: string, daemon: Daemon, log: Logger) {
    this.#daemon = daemon;
    this.#log = log;
    this.#fd = listenStream(path, 0o666);
    this.#listen();
  }

  /** No new clients; resolves when what the others asked for is given up. */
  async refuse(): Promise<void> {
    clearTimeout(this.#pause);
    this.#unwatch?.();
    closeQuietly(this.#fd);
    await Promise.all([...this.#clients].map((client) => client.giveUp()));
  }

  /** Answers that are on their way are waited for. */
  async close(): Promise<void> {
    await Promise.all([...this.#clients].map((client) => client.close()));
  }

  #listen(): void {
    this.#unwatch = watch(this.#fd, { readable: true }, () => this.#accept());
  }

  #accept(): void {
    try {
      for (let fd = acceptStream(this.#fd); fd !== null; fd = acceptStream(this.#fd)) this.#serve(fd);
    } catch (error) {
      // Too many open files, mostly. Who waits goes on waiting, and we don't spin.
      this.#log.error(`a client could not be accepted: ${(error as Error).message}`);
      this.#unwatch?.();
      this.#pause = setTimeout(() => this.#listen(), 100);
    }
  }

  #serve(fd: number): void {
    if (this.#clients.size >= CLIENTS_MAX) throw new BerthError(`there are ${CLIENTS_MAX} clients already`);
    const client = new ClientConnection(fd, this.#daemon, this.#log, () => this.#clients.delete(client));
    this.#clients.add(client);
  }
}
