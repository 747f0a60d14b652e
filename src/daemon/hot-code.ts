import { setFlagsFromString } from "node:v8";

/** Calls within `WITHIN_MS` from which on the daemon works for somebody who asks again and again, as a monitor does. */
const MANY = 500;
/** ms */
const WITHIN_MS = 5000;

/**
 * The launcher (.scripts/build) keeps V8's optimizing compiler from everything: to start it costs an idle daemon 2 MB, and while it works
 * four times that, and what a machine's start runs is run too seldom to pay for it. Where calls come by the hundred, the code that answers
 * them is worth it, until they come no longer.
 */
export class HotCode {
  readonly #compile: (allowed: boolean) => void;
  readonly #onCalm: () => void;
  #called = 0;
  /** When the first of the calls that are counted could have come, ms. */
  #since = performance.now();
  #watching: NodeJS.Timeout | undefined;

  /** `onCalm`: what that took can be given back. */
  constructor({ compile = letCompile, onCalm }: { compile?: (allowed: boolean) => void; onCalm: () => void }) {
    this.#compile = compile;
    this.#onCalm = onCalm;
  }

  /** A call has come. */
  called(): void {
    if (++this.#called < MANY || this.#watching !== undefined) return;
    const now = performance.now();
    if (now - this.#since < WITHIN_MS) {
      this.#compile(true);
      this.#watching = setInterval(() => this.#look(), WITHIN_MS).unref();
    }
    this.#called = 0;
    this.#since = now;
  }

  #look(): void {
    const isHot = this.#called >= MANY;
    this.#called = 0;
    if (isHot) return;
    clearInterval(this.#watching);
    this.#watching = undefined;
    this.#since = performance.now();
    this.#compile(false);
    this.#onCalm();
  }
}

/** V8 asks its filter each time that a function has become hot, so it may be changed while the program runs. */
function letCompile(allowed: boolean): void {
  setFlagsFromString(`--maglev-filter=${allowed ? "*" : "~"}`);
}
