import { monotonic } from "../sys/clock.ts";

/** The callbacks of one turn of the event loop. */
interface Turn {
  /** When the first of them was called. */
  began?: number;
}

/** Lets those who wait go on one after the other: as many a turn of the event loop, in which all others have theirs, as begin within `budget` ms. */
export class OneATurn {
  readonly #budget: number;
  readonly #waiting: (() => void)[] = [];
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
    this.#next ??= {};
    const turn = this.#next;
    setImmediate(() => this.#take(turn));
  }

  /** Node does what one of these leads to before it calls the next; what they ask for comes in the next turn. */
  #take(turn: Turn): void {
    if (this.#next === turn) this.#next = undefined;
    const now = monotonic();
    if (turn.began !== undefined && now - turn.began >= this.#budget) {
      this.#ask();
      return;
    }
    turn.began ??= now;
    this.#waiting.shift()?.();
  }
}
