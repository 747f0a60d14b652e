import { BerthError } from "../errors.ts";
import { monotonic } from "../sys/clock.ts";

/** One operation a machine or image at a time: who comes meanwhile is told what it is busy with. */
export class Operations {
  readonly #running = new Map<string, { readonly what: string; readonly since: number }>();

  /** What is being done with it now; undefined: nothing. */
  current(name: string): string | undefined {
    return this.#running.get(name)?.what;
  }

  /** @throws BerthError of kind Busy */
  async run<T>(name: string, what: string, act: () => Promise<T>): Promise<T> {
    const before = this.#running.get(name);
    if (before !== undefined) {
      const seconds = ((monotonic() - before.since) / 1000).toFixed(1);
      throw new BerthError(`${name} is busy: ${before.what} for ${seconds} s`, {
        kind: "Busy",
        hint: `try again when that is over; berth terminate ${name} ends a machine whatever it does`,
      });
    }
    this.#running.set(name, { what, since: monotonic() });
    try {
      return await act();
    } finally {
      this.#running.delete(name);
    }
  }
}
