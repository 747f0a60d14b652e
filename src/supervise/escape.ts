/** Ctrl-] as terminals send it. */
const ESCAPE = 0x1d;
const TIMES = 3;
const WITHIN_MS = 1000;

/** Finds ^] typed three times within a second: the way out of a console that does not answer (systemd-nspawn(1)). */
export class EscapeDetector {
  #times: number[] = [];

  /** `now` in ms of any steady clock. True: the third one was in this chunk. Any other key starts over. */
  feed(chunk: Uint8Array, now: number): boolean {
    for (const byte of chunk) {
      if (byte !== ESCAPE) {
        this.#times = [];
        continue;
      }
      this.#times = [...this.#times.filter((time) => now - time < WITHIN_MS), now];
      if (this.#times.length >= TIMES) return true;
    }
    return false;
  }
}
