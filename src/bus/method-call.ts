import type { Connection } from "./connection.ts";
import type { CallerCredentials, CredentialsCache } from "./credentials.ts";
import type { Interface } from "./interface.ts";
import type { Read } from "./known-reads.ts";
import { ALLOW_INTERACTIVE_AUTHORIZATION, type IncomingMessage, NO_REPLY_EXPECTED } from "./message.ts";
import type { Unsubscribe } from "./subscriptions.ts";

/** What is at the path that was called. */
export interface CalledObject {
  /** Its own, without those that every object has. */
  readonly interfaces: readonly Interface[];
  /** Path elements of what lies directly below. */
  children(): Promise<readonly string[]>;
}

const NOTHING: CalledObject = { interfaces: [], children: async () => [] };

/** A call as its handler sees it. */
export class MethodCall {
  readonly connection: Connection;
  object = NOTHING;
  /** What was asked for, where that was a property whose value is none that may change in place, and was there at once. */
  read: Read | undefined;
  /** It was asked whether the caller may, and it may. */
  authorised = false;
  readonly #message: IncomingMessage;
  readonly #credentials: CredentialsCache;

  constructor(connection: Connection, message: IncomingMessage, credentials: CredentialsCache) {
    this.connection = connection;
    this.#message = message;
    this.#credentials = credentials;
  }

  /** The caller's unique name. */
  get sender(): string {
    return this.#message.header.sender ?? "";
  }

  get path(): string {
    return this.#message.header.path ?? "/";
  }

  /** Undefined: any that has the member. */
  get interface(): string | undefined {
    return this.#message.header.interface;
  }

  get member(): string {
    return this.#message.header.member ?? "";
  }

  get flags(): number {
    return this.#message.header.flags;
  }

  /** The caller waits while a user is asked for a password. */
  get interactive(): boolean {
    return (this.flags & ALLOW_INTERACTIVE_AUTHORIZATION) !== 0;
  }

  /** Nobody waits for the answer. */
  get noReply(): boolean {
    return (this.flags & NO_REPLY_EXPECTED) !== 0;
  }

  /** fds among the arguments. They are closed when the handler is done, unless it took them. */
  get fds(): readonly number[] {
    return this.#message.fds;
  }

  /** From here on they are the handler's. */
  takeFds(): readonly number[] {
    return this.#message.takeFds();
  }

  credentials(): Promise<CallerCredentials> {
    return this.#credentials.of(this.sender);
  }

  /** Calls back when the caller leaves the bus. */
  onGone(callback: () => void): Promise<Unsubscribe> {
    return this.connection.watchName(this.sender, callback);
  }
}
