/** Where the stage maps the image (a multiple of HALF). */
const BASE = 0x200000000;

/** A place in the image. */
export interface Pointer {
  readonly at: number;
}

/** What half a word can be. */
const HALF = 2 ** 32;

/** Growing memory at a fixed address, as 64-bit words in two halves: an image has thousands, and no bigint is made for them. */
export class Segment {
  readonly start: number;
  #halves: Int32Array<ArrayBuffer>;
  bytes: Buffer;
  used = 0;

  /** `room`: bytes of what most images have there. */
  constructor(start: number, room: number) {
    this.start = start;
    this.#halves = new Int32Array(room / 4);
    this.bytes = Buffer.from(this.#halves.buffer);
  }

  reserve(size: number): Pointer {
    const offset = (this.used + 7) & ~7;
    this.used = offset + size;
    if (this.used > this.#halves.byteLength) {
      const grown = new Int32Array(Math.max(this.#halves.length * 2, this.used));
      grown.set(this.#halves);
      this.#halves = grown;
      this.bytes = Buffer.from(grown.buffer);
    }
    return { at: this.start + offset };
  }

  setWord(at: number, value: number | bigint): void {
    setWord(this.#halves, (at - this.start) >> 2, value);
  }

  setAddress(at: number, pointer: Pointer): void {
    setAddress(this.#halves, (at - this.start) >> 2, pointer);
  }

  put({ at }: Pointer, words: Int32Array): void {
    this.#halves.set(words, (at - this.start) >> 2);
  }

  /** Takes back what was reserved since `used` was this: it is zeros again. */
  rewind(used: number): void {
    this.bytes.fill(0, used, this.used);
    this.used = used;
  }

  holds(pointer: Pointer): boolean {
    return pointer.at >= this.start && pointer.at < this.start + this.used;
  }
}

/** Sets a word: a signed number of at most 53 bits, or any bigint modulo 2^64. */
export function setWord(words: Int32Array, half: number, value: number | bigint): void {
  if (typeof value === "bigint") {
    words[half] = Number(BigInt.asIntN(32, value));
    words[half + 1] = Number(BigInt.asIntN(32, value >> 32n));
  } else if ((value | 0) === value) {
    words[half] = value;
    words[half + 1] = value >> 31;
  } else {
    words[half] = value;
    words[half + 1] = Math.floor(value / HALF);
  }
}

export function setAddress(words: Int32Array, half: number, { at }: Pointer): void {
  words[half] = at;
  words[half + 1] = BASE / HALF;
}
