import { monotonic } from "../sys/clock.ts";

/** The callbacks of one turn of the event loop. */
interface Turn {
  /** When the first of them was called. */
  began?: number;
}

/** How many of them are asked for at a time: what is in vain, as the budget is spent, takes time as well. */
const MOST = 6;

/** Lets those who wait go on one after the other: as many a turn of the event loop, in which all others have theirs, as begin within `budget` ms. */
export class OneATurn {
  readonly #budget: number;
  readonly #waiting: (() => void)[] = [];
  #asked = 0;
  /** That is still to come. */
  #next: Turn | undefined;

  /** 0: one a turn. */
  constructor(budget = 0) {
    this.#budget = budget;
  }

  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#ask();
    });
  }

  #ask(): void {
    if (this.#asked >= Math.min(this.#waiting.length, MOST)) return;
    this.#asked++;
    this.#next ??= {};
    const turn = this.#next;
    setImmediate(() => this.#take(turn));
  }

  /** Node does what one of these leads to before it calls the next; what they ask for comes in the next turn. */
  #take(turn: Turn): void {
    this.#asked--;
    if (this.#next === turn) this.#next = undefined;
    const now = monotonic();
    if (turn.began === undefined || now - turn.began < this.#budget) {
      turn.began ??= now;
      this.#waiting.shift()?.();
    }
    this.#ask();
  }
}
