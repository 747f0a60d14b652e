import type { MatchRule } from "./match-rule.ts";
import { BUS_NAME, type SignalMessage, type Unsubscribe } from "./subscriptions.ts";

/** What a connection gives for it. */
interface Bus {
  subscribe(rule: MatchRule, listener: (signal: SignalMessage) => void): Promise<Unsubscribe>;
  /** The unique name; undefined: nobody has it. */
  ownerOf(name: string): Promise<string | undefined>;
}

/** Who wants to know when a name is nobody's any more. */
export class NameWatches {
  readonly #bus: Bus;
  readonly #all = new Set<() => void>();

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /** Calls back once when that is so; at once where it is so now. */
  async add(name: string, onGone: () => void): Promise<Unsubscribe> {
    let gone = false;
    let unsubscribe: Unsubscribe = () => undefined;
    const forget = (): void => {
      gone = true;
      this.#all.delete(once);
      unsubscribe();
    };
    const once = (): void => {
      if (gone) return;
      forget();
      onGone();
    };
    this.#all.add(once);
    const rule = { sender: BUS_NAME, interface: BUS_NAME, member: "NameOwnerChanged", arg0: name };
    try {
      unsubscribe = await this.#bus.subscribe(rule, ({ body }) => {
        if (body[2] === "") once();
      });
      if (!gone && (await this.#bus.ownerOf(name)) === undefined) once();
    } catch (error) {
      forget();
      throw error;
    }
    if (gone) unsubscribe();
    return forget;
  }

  /** The bus has gone, and all names with it. */
  end(): void {
    for (const gone of [...this.#all]) gone();
  }
}
