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
    } catch (error) {
      this.#starting.delete(name);
      this.#forget(name);
      throw error;
    }
    this.#starting.delete(name);
    return name;
  }

  /** Those that ended while there was no daemon. */
  sweep(): void {
    const known = new Set(this.#manager.list().flatMap(({ name, state }) => (state === "failed" ? [] : [name])));
    for (const name of listThrowAways(this.#paths)) if (!known.has(name)) this.#forget(name);
  }

  #forget(name: string): void {
    if (throwAwayImage(name, this.#paths) === null) return;
    // Not in the midst of what tells of its end.
    setImmediate(() => {
      void this.#manager
        .forget(name)
        .catch(() => undefined)
        .finally(() => dropThrowAway(name, this.#paths));
    });
  }
}
