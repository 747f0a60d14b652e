import { trimMemory } from "../sys/memory.ts";

/** After the last operation, ms. */
const QUIET_MS = 500;

/**
 * Gives back what operations have taken, when none is going on. V8 would wait for its heap to double, and malloc(3) for
 * ever: a daemon that is idle most of its life would have the memory of its busiest minute.
 */
export class Tidy {
  #timer: NodeJS.Timeout | undefined;

  /** Something has just been done. */
  busy(): void {
    this.#timer ??= setTimeout(() => void this.#tidy(), QUIET_MS).unref();
    this.#timer.refresh();
  }

  async #tidy(): Promise<void> {
    this.#timer = undefined;
    // The launcher asks node for it. The last resort of V8's gives back the most, code that has not been used of late too.
    await globalThis.gc?.({ type: "major", execution: "async", flavor: "last-resort" });
    // Afterwards: what objects of the heap had from malloc(3) is free only now.
    trimMemory();
  }
}
