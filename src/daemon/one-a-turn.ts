/** Lets one of those who wait go on each turn of the event loop, in which all others have theirs. */
export class OneATurn {
  readonly #waiting: (() => void)[] = [];
  #immediate: NodeJS.Immediate | undefined;

  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#immediate ??= setImmediate(() => this.#next());
    });
  }

  #next(): void {
    this.#waiting.shift()?.();
    this.#immediate = this.#waiting.length > 0 ? setImmediate(() => this.#next()) : undefined;
  }
}
