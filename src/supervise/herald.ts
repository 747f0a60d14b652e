import type { ConsoleOutput } from "./fd-reader.ts";

/**
 * The output of a terminal on which a word comes once that nobody is to see: `onWord` is called when it has come. What only
 * looks like its beginning is held back until more is there.
 */
export class Herald implements ConsoleOutput {
  readonly #output: ConsoleOutput;
  readonly #word: Buffer;
  readonly #onWord: () => void;
  #take: (chunk: Buffer) => boolean = () => true;
  #held: Buffer = Buffer.alloc(0);
  #over = false;

  constructor(output: ConsoleOutput, word: Buffer, onWord: () => void) {
    this.#output = output;
    this.#word = word;
    this.#onWord = onWord;
  }

  get closed(): boolean {
    return this.#output.closed;
  }

  start(take: (chunk: Buffer) => boolean): void {
    this.#take = take;
    this.#output.start((chunk) => (this.#over ? take(chunk) : this.#look(chunk)));
  }

  resume(): void {
    this.#output.resume();
  }

  async ended(): Promise<void> {
    await this.#output.ended();
    this.#give(this.#held);
    this.#held = Buffer.alloc(0);
  }

  close(): void {
    this.#output.close();
  }

  #look(chunk: Buffer): boolean {
    const all = Buffer.concat([this.#held, chunk]);
    const at = all.indexOf(this.#word);
    this.#over = at >= 0;
    const end = this.#over ? at : all.length - this.#begun(all);
    this.#held = this.#over ? Buffer.alloc(0) : all.subarray(end);
    const more = this.#give(all.subarray(0, end));
    if (!this.#over) return more;
    this.#onWord();
    return this.#give(all.subarray(at + this.#word.length)) && more;
  }

  /** How many bytes at the end may be the beginning of the word. */
  #begun(all: Buffer): number {
    let length = Math.min(this.#word.length - 1, all.length);
    while (length > 0 && !all.subarray(-length).equals(this.#word.subarray(0, length))) length--;
    return length;
  }

  #give(bytes: Buffer): boolean {
    return bytes.length === 0 || this.#take(bytes);
  }
}
