import { readdirSync, readFileSync, statSync } from "node:fs";
import { closeQuietly } from "../sys/files.ts";
import { type Unwatch, watch } from "../sys/poll.ts";
import type { Credentials } from "../sys/socket-message.ts";
import { acceptStream, listenStream, peerCredentials } from "../sys/unix-stream.ts";
import { ClientConnection } from "./client-connection.ts";
import type { Logger } from "./log.ts";
import type { Daemon } from "./methods.ts";

/** More clients than anybody has; who comes then waits in the socket's backlog. */
const CLIENTS_MAX = 1000;
/** Of them so many may be other users than root, who is never kept out by them, and so many one of these. */
const OTHERS_MAX = 256;
const USER_MAX = 32;
/** Who comes faster than they are served must not keep all others from their turn. */
const ACCEPTS = 16;
/** fds that no new client gets: machines are seen to with them. */
const FDS_KEPT = 64;
/** Until it is looked whether there is room again. */
const PAUSE_MS = 100;

/** The daemon's own socket, which works without any bus: see protocol.ts. */
export class SocketServer {
  readonly #daemon: Daemon;
  readonly #log: Logger;
  readonly #fd: number;
  readonly #clients = new Set<ClientConnection>();
  #unwatch: Unwatch | undefined;
  #pause: NodeJS.Timeout | undefined;
  /** Nobody is accepted just now, which has been said. */
  #resting = false;
  readonly #fdsMax = fdsMax();

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
      for (let accepts = 0; accepts < ACCEPTS; accepts++) {
        const full = this.#full();
        if (full !== undefined) {
          this.#rest(full);
          return;
        }
        const fd = acceptStream(this.#fd);
        if (fd === null) break;
        this.#serve(fd);
      }
      this.#resting = false;
    } catch (error) {
      this.#rest((error as Error).message);
    }
  }

  /** Why nobody else can be served now. */
  #full(): string | undefined {
    if (this.#clients.size >= CLIENTS_MAX) return `there are ${CLIENTS_MAX} already`;
    const open = openFds();
    return open + FDS_KEPT > this.#fdsMax ? `${open} of ${this.#fdsMax} fds are open` : undefined;
  }

  #hasRoomFor({ uid }: Credentials): boolean {
    if (uid === 0) return true;
    const others = [...this.#clients].filter((client) => client.uid !== 0);
    return others.length < OTHERS_MAX && others.filter((client) => client.uid === uid).length < USER_MAX;
  }

  /** Who waits goes on waiting, and we don't spin. */
  #rest(why: string): void {
    if (!this.#resting) this.#log.error(`no more clients are accepted: ${why}`);
    this.#resting = true;
    this.#unwatch?.();
    this.#pause = setTimeout(() => this.#listen(), PAUSE_MS);
  }

  #serve(fd: number): void {
    try {
      const peer = peerCredentials(fd);
      if (!this.#hasRoomFor(peer)) {
        closeQuietly(fd);
        return;
      }
      const client = new ClientConnection(fd, peer, this.#daemon, this.#log, () => this.#clients.delete(client));
      this.#clients.add(client);
    } catch (error) {
      closeQuietly(fd);
      throw error;
    }
  }
}

/** RLIMIT_NOFILE, proc_pid_limits(5). */
function fdsMax(): number {
  return Number(/^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1] ?? 1024);
}

/** The directory's size says it since Linux 6.2. */
function openFds(): number {
  return statSync("/proc/self/fd").size || readdirSync("/proc/self/fd").length;
}
