import { BerthError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { dropThrowAway, listThrowAways, makeThrowAway, throwAwayImage } from "../machine/throw-away.ts";
import type { Manager } from "./manager.ts";
import type { StartCaller } from "./when-ready.ts";

/** Boots throw-away copies of machines, and forgets them when they have ended, whoever started them. */
export class ThrowAways {
  readonly #manager: Manager;
  /** How these end is for who starts them. */
  readonly #starting = new Set<string>();

  constructor(manager: Manager) {
    this.#manager = manager;
    manager.on("machine", ({ machine, view }) => {
      if ((view === null || view.state === "failed") && !this.#starting.has(machine)) this.#forget(machine);
    });
  }

  get #paths(): Paths {
    return this.#manager.paths;
  }

  /** Resolves to its name when it is ready. `onName`: it has one, and is about to boot. */
  async start(image: string, caller: StartCaller, onName: (name: string) => void): Promise<string> {
    if (throwAwayImage(image, this.#paths) !== null)
      throw new BerthError(`machine ${image} is a throw-away copy itself`, { kind: "NotSupported" });
    this.#manager.requireTree(image);
    const name = makeThrowAway(image, this.#paths);
    this.#starting.add(name);
    try {
      onName(name);
      await this.#manager.start(name, caller);
      return name;
    } catch (error) {
      await this.#drop(name); // whoever hears of it finds nothing of it
      throw error;
    } finally {
      this.#starting.delete(name);
    }
  }

  /** Those that ended while there was no daemon. */
  sweep(): void {
    const known = new Set(this.#manager.list().flatMap(({ name, state }) => (state === "failed" ? [] : [name])));
    for (const name of listThrowAways(this.#paths)) if (!known.has(name)) this.#forget(name);
  }

  #forget(name: string): void {
    // Not in the midst of what tells of its end.
    if (throwAwayImage(name, this.#paths) !== null) setImmediate(() => void this.#drop(name));
  }

  async #drop(name: string): Promise<void> {
    if (throwAwayImage(name, this.#paths) === null) return;
    await this.#manager.forget(name).catch(() => undefined);
    dropThrowAway(name, this.#paths);
  }
}
