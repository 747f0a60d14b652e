import { fits, type MatchRule, ruleText } from "./match-rule.ts";
import type { Header, IncomingMessage } from "./message.ts";

export const BUS_NAME = "org.freedesktop.DBus";

export interface SignalMessage {
  readonly header: Header;
  readonly body: readonly unknown[];
}

/** Undoes a subscription; once is enough. */
export type Unsubscribe = () => void;

/** The calls of the bus itself that subscriptions need. */
export interface BusCalls {
  addMatch(rule: string): Promise<void>;
  removeMatch(rule: string): Promise<void>;
  /** The unique name; undefined: nobody has it. */
  ownerOf(name: string): Promise<string | undefined>;
}

interface Subscription {
  readonly rule: MatchRule;
  readonly listener: (signal: SignalMessage) => void;
}

/**
 * Who listens to which signals. A rule is told to the bus once, however many listen by it, and taken back when the last
 * one is gone. Anybody may send us a signal of any content, so one of a well-known name must come from its owner.
 */
export class Subscriptions {
  readonly #bus: BusCalls;
  readonly #log: (text: string) => void;
  readonly #all = new Set<Subscription>();
  readonly #rules = new Map<string, { count: number; added: Promise<void> }>();
  readonly #owners = new Map<string, { count: number; owner: string | undefined; known: Promise<Unsubscribe> }>();

  constructor(bus: BusCalls, log: (text: string) => void) {
    this.#bus = bus;
    this.#log = log;
  }

  /** Resolves when no signal can be missed any more. */
  async add(rule: MatchRule, listener: (signal: SignalMessage) => void): Promise<Unsubscribe> {
    const unfollow = await this.#follow(rule.sender);
    const subscription = { rule, listener };
    this.#all.add(subscription);
    const remove = (): void => {
      if (!this.#all.delete(subscription)) return;
      this.#removeRule(ruleText(rule));
      unfollow();
    };
    try {
      await this.#addRule(ruleText(rule));
      return remove;
    } catch (error) {
      remove();
      throw error;
    }
  }

  /** Reads the signal and passes it on, and never throws. */
  deliver(message: IncomingMessage): void {
    try {
      const body = message.read();
      for (const { rule, listener } of [...this.#all])
        if (this.#fromSender(rule, message.header.sender) && fits(rule, message.header, () => body[0]))
          listener({ header: message.header, body });
    } catch (error) {
      this.#log(`a signal ${message.header.interface}.${message.header.member} was lost: ${String(error)}`);
    } finally {
      message.closeFds();
    }
  }

  #fromSender({ sender }: MatchRule, actual: string | undefined): boolean {
    if (sender === undefined || sender === actual) return true;
    return sender !== BUS_NAME && !sender.startsWith(":") && this.#owners.get(sender)?.owner === actual;
  }

  #addRule(text: string): Promise<void> {
    const known = this.#rules.get(text);
    if (known) {
      known.count++;
      return known.added;
    }
    const added = this.#bus.addMatch(text);
    this.#rules.set(text, { count: 1, added });
    return added;
  }

  #removeRule(text: string): void {
    const known = this.#rules.get(text);
    if (!known || --known.count > 0) return;
    this.#rules.delete(text);
    known.added.then(() => this.#bus.removeMatch(text)).catch(() => undefined);
  }

  /** Knows from here on who owns the sender's name, where it is a well-known one. */
  async #follow(name: string | undefined): Promise<Unsubscribe> {
    if (name === undefined || name === BUS_NAME || name.startsWith(":")) return () => undefined;
    const known = this.#owners.get(name);
    if (known) known.count++;
    const entry = known ?? { count: 1, owner: undefined, known: this.#learnOwner(name) };
    this.#owners.set(name, entry);
    const release = (): void => {
      if (--entry.count > 0) return;
      this.#owners.delete(name);
      entry.known.then((unsubscribe) => unsubscribe()).catch(() => undefined);
    };
    try {
      await entry.known;
      return release;
    } catch (error) {
      release();
      throw error;
    }
  }

  async #learnOwner(name: string): Promise<Unsubscribe> {
    let changed = false;
    const set = (owner: unknown): void => {
      const entry = this.#owners.get(name);
      if (entry) entry.owner = typeof owner === "string" && owner !== "" ? owner : undefined;
    };
    const unsubscribe = await this.add(
      { sender: BUS_NAME, interface: BUS_NAME, member: "NameOwnerChanged", arg0: name },
      ({ body }) => {
        changed = true;
        set(body[2]);
      },
    );
    const owner = await this.#bus.ownerOf(name);
    if (!changed) set(owner);
    return unsubscribe;
  }
}
