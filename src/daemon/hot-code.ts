import { setFlagsFromString } from "node:v8";

/** Calls within `MANY_MS` from which on the daemon works for somebody who asks again and again, as a monitor does. */
const MANY = 500;
/** ms */
const MANY_MS = 5000;

/**
 * The launcher (.scripts/build) keeps V8's optimizing compiler from everything: to start it once costs an idle daemon 2 MB, and what a
 * machine's start runs is run too seldom to pay for that. Where calls come by the hundred, the code that answers them is worth it.
 */
export class HotCode {
  readonly #compile: () => void;
  readonly #clock: () => number;
  #called = 0;
  /** Of the calls that are counted. */
  #since: number;
  #isCompiled = false;

  constructor(options: { readonly compile?: () => void /** ms */; readonly clock?: () => number } = {}) {
    this.#compile = options.compile ?? compileWhatIsHot;
    this.#clock = options.clock ?? (() => performance.now());
    this.#since = this.#clock();
  }

  /** A call has come. */
  called(): void {
    if (this.#isCompiled || ++this.#called < MANY) return;
    const now = this.#clock();
    if (now - this.#since < MANY_MS) {
      this.#isCompiled = true;
      this.#compile();
    }
    this.#called = 0;
    this.#since = now;
  }
}

/** V8 asks its filter each time that a function has become hot, so it may be changed while the program runs. */
function compileWhatIsHot(): void {
  setFlagsFromString("--maglev-filter=*");
}
