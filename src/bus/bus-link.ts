import { setTimeout as sleep } from "node:timers/promises";
import { Connection } from "./connection.ts";
import { DBusError } from "./dbus-error.ts";
import type { ObjectServer } from "./object-server.ts";

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 10_000;

/** "taken": somebody else has it, as another daemon; "refused": the bus's policy does not let us. */
export type NameState = "ours" | "taken" | "refused";

export interface BusState {
  readonly connected: boolean;
  /** Why it is not connected, or was not before. */
  readonly problem: string | undefined;
  readonly names: Readonly<Record<string, NameState>>;
}

/**
 * Keeps objects on a bus under their names: connects, and when the bus goes connects again with a delay that grows, and
 * takes the names again. Whoever owns the objects needs not know; what they emit meanwhile is heard by nobody.
 */
export class BusLink {
  readonly #address: string;
  readonly #names: readonly string[];
  readonly #server: ObjectServer;
  readonly #log: (text: string) => void;
  readonly #onChange: (state: BusState) => void;
  readonly #stopped = new AbortController();
  #state: BusState = { connected: false, problem: undefined, names: {} };
  #connection: Connection | undefined;
  #running: Promise<void> | undefined;

  constructor(options: {
    readonly address: string;
    readonly names: readonly string[];
    readonly server: ObjectServer;
    readonly log?: (text: string) => void;
    readonly onChange?: (state: BusState) => void;
  }) {
    this.#address = options.address;
    this.#names = options.names;
    this.#server = options.server;
    this.#log = options.log ?? (() => undefined);
    this.#onChange = options.onChange ?? (() => undefined);
  }

  get state(): BusState {
    return this.#state;
  }

  /** For calls of others; undefined while there is no bus. */
  get connection(): Connection | undefined {
    return this.#connection;
  }

  /** Resolves after the first attempt, whatever came of it: `state` tells. */
  async start(): Promise<void> {
    const first = await this.#connect();
    this.#running ??= this.#stay(first);
  }

  /** Gives the names back and disconnects. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#connection?.flush().catch(() => undefined);
    this.#connection?.close();
    await this.#running;
    this.#set({ connected: false, problem: undefined, names: {} });
  }

  async #stay(first: Connection | undefined): Promise<void> {
    const { signal } = this.#stopped;
    let delay = FIRST_DELAY_MS;
    for (let connection = first; !signal.aborted; connection = await this.#connect()) {
      if (connection) await this.#untilEnded(connection);
      delay = connection ? FIRST_DELAY_MS : Math.min(2 * delay, LONGEST_DELAY_MS);
      await sleep(delay, undefined, { signal }).catch(() => undefined);
    }
  }

  async #untilEnded(connection: Connection): Promise<void> {
    const error = await connection.ended;
    this.#connection = undefined;
    if (this.#stopped.signal.aborted) return;
    const problem = error?.message ?? "the connection was closed";
    this.#log(`the bus is gone, and is waited for: ${problem}`);
    this.#set({ connected: false, problem, names: {} });
  }

  async #connect(): Promise<Connection | undefined> {
    let connection: Connection | undefined;
    try {
      connection = await Connection.open(this.#address, { log: this.#log });
      this.#server.attach(connection);
      const names: Record<string, NameState> = {};
      for (const name of this.#names) names[name] = await this.#request(connection, name);
      if (this.#stopped.signal.aborted) throw new Error("it was stopped");
      this.#connection = connection;
      this.#set({ connected: true, problem: undefined, names });
      return connection;
    } catch (error) {
      connection?.close();
      const problem = error instanceof Error ? error.message : String(error);
      if (problem !== this.#state.problem && !this.#stopped.signal.aborted)
        this.#log(`there is no bus to connect to: ${problem}`);
      this.#set({ connected: false, problem, names: {} });
      return undefined;
    }
  }

  async #request(connection: Connection, name: string): Promise<NameState> {
    try {
      const state = await connection.requestName(name);
      if (state === "taken") this.#log(`the name ${name} is somebody else's`);
      return state;
    } catch (error) {
      if (!(error instanceof DBusError && error.errorName.endsWith(".AccessDenied"))) throw error;
      this.#log(`the bus does not let us have the name ${name}: ${error.message}`);
      return "refused";
    }
  }

  #set(state: BusState): void {
    this.#state = state;
    this.#onChange(state);
  }
}
