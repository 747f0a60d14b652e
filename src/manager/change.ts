/** Tells who waits that something has changed. */
export class Change {
  #next = Promise.withResolvers<void>();

  fire(): void {
    const { resolve } = this.#next;
    this.#next = Promise.withResolvers<void>();
    resolve();
  }

  /** Resolves at the next change; rejects with the signal's reason. */
  next(signal: AbortSignal): Promise<void> {
    const { promise } = this.#next;
    return new Promise((resolve, reject) => {
      const give = (): void => reject(signal.reason as Error);
      if (signal.aborted) return give();
      signal.addEventListener("abort", give, { once: true });
      void promise.then(() => {
        signal.removeEventListener("abort", give);
        resolve();
      });
    });
  }
}
