import type { Connection } from "./connection.ts";
import { BUS_NAME } from "./subscriptions.ts";

/** Who has a connection to the bus, as the kernel said when it was made. */
export interface CallerCredentials {
  readonly uid: number;
  /** May be another process's by now: nothing is to be allowed because of it. */
  readonly pid: number | undefined;
  /** undefined: the bus does not tell. */
  readonly groups: readonly number[] | undefined;
}

const REMEMBERED = 256;

/**
 * Credentials by unique name. They never change, and a bus uses no unique name twice, so they are kept for the life of
 * our own connection; those not asked for in a long time are forgotten.
 */
export class CredentialsCache {
  readonly #connection: Connection;
  readonly #known = new Map<string, Promise<CallerCredentials>>();

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** @throws DBusError NameHasNoOwner when whoever it was has left */
  of(name: string): Promise<CallerCredentials> {
    const asked = this.#known.get(name) ?? this.#ask(name);
    // The last one asked for is the last one forgotten.
    this.#known.delete(name);
    this.#known.set(name, asked);
    const [oldest] = this.#known.keys();
    if (this.#known.size > REMEMBERED && oldest !== undefined) this.#known.delete(oldest);
    asked.catch(() => this.#known.delete(name));
    return asked;
  }

  async #ask(name: string): Promise<CallerCredentials> {
    const [found] = await this.#connection.call({
      destination: BUS_NAME,
      path: "/org/freedesktop/DBus",
      interface: BUS_NAME,
      member: "GetConnectionCredentials",
      in: "s",
      args: [name],
      out: "a{sv}",
    });
    const [uid, pid, groups] = ["UnixUserID", "ProcessID", "UnixGroupIDs"].map((key) => found[key]?.value);
    if (typeof uid !== "number") throw new Error(`the bus does not say whose connection ${name} is`);
    return {
      uid,
      pid: typeof pid === "number" ? pid : undefined,
      groups: Array.isArray(groups) ? groups.filter((group) => typeof group === "number") : undefined,
    };
  }
}
