import { isObjectPath } from "./names.ts";
import { alignment, parseSignature, parseSingle, type Type } from "./signature.ts";
import { Variant } from "./values.ts";

/** As much as we would read. */
const MAX_MESSAGE = 16 << 20;
export const MAX_DEPTH = 64;
const FIRST_SIZE = 4096;
/** What is kept for the next message. */
const KEPT_SIZE = 64 << 10;

/** By code: the least and the greatest number. */
const INTEGERS: Readonly<Record<string, readonly [number, number]>> = {
  y: [0, 0xff],
  n: [-0x8000, 0x7fff],
  q: [0, 0xffff],
  i: [-0x80000000, 0x7fffffff],
  u: [0, 0xffffffff],
};
const LONG: Readonly<Record<string, readonly [bigint, bigint]>> = {
  x: [-(2n ** 63n), 2n ** 63n - 1n],
  t: [0n, 2n ** 64n - 1n],
};

/** Where messages are written. What is aligned is written as words: these machines are little-endian, as our messages. */
interface Scratch {
  readonly bytes: Buffer;
  readonly words: Uint32Array;
}

/** Undefined while one is written. */
let scratch: Scratch | undefined;

function makeScratch(size: number): Scratch {
  const bytes = Buffer.allocUnsafeSlow((size + 3) & ~3);
  return { bytes, words: new Uint32Array(bytes.buffer) };
}

/**
 * Writes values by their signature, little-endian. A bus drops whoever sends it anything malformed, so each value is
 * looked at: what is not of its type is an Error that says what was expected.
 */
export class Marshaller {
  #bytes: Buffer;
  #words: Uint32Array;
  #at = 0;
  #depth = 0;
  /** fds among the values, in the order of their index. */
  readonly fds: number[] = [];

  constructor() {
    const { bytes, words } = scratch ?? makeScratch(FIRST_SIZE);
    this.#bytes = bytes;
    this.#words = words;
    scratch = undefined;
  }

  /** What was written, and the end of writing. */
  finish(): Buffer {
    const written = Buffer.from(this.#bytes.subarray(0, this.#at));
    if (this.#bytes.length <= KEPT_SIZE) scratch = { bytes: this.#bytes, words: this.#words };
    return written;
  }

  get length(): number {
    return this.#at;
  }

  write(signature: string, values: readonly unknown[]): void {
    const types = parseSignature(signature);
    if (types.length !== values.length)
      throw new Error(`${values.length} values were given for the signature "${signature}"`);
    for (let index = 0; index < types.length; index++) this.value(types[index] as Type, values[index]);
  }

  align(to: number): void {
    const next = (this.#at + to - 1) & -to;
    this.#room(next - this.#at);
    while (this.#at < next) this.#bytes[this.#at++] = 0;
  }

  byte(value: number): void {
    this.#room(1);
    this.#bytes[this.#at++] = value;
  }

  u32(value: number): void {
    this.align(4);
    this.#room(4);
    this.#words[this.#at >> 2] = value;
    this.#at += 4;
  }

  /** A word at a place that was written before. */
  patch(at: number, value: number): void {
    this.#words[at >> 2] = value;
  }

  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  value(type: Type, value: unknown): void {
    if (++this.#depth > MAX_DEPTH) throw new Error("values are nested too deep");
    switch (type.code) {
      case "a":
        this.#array(type, value);
        break;
      case "(":
        this.#struct(type, value);
        break;
      case "v":
        if (!(value instanceof Variant)) throw mismatch("a Variant", value);
        this.signature(value.signature);
        this.value(parseSingle(value.signature), value.value);
        break;
      default:
        this.#basic(type.code, value);
    }
    this.#depth--;
  }

  text(value: string): void {
    const length = Buffer.byteLength(value);
    this.u32(length);
    this.#room(length + 1);
    this.#at += this.#bytes.write(value, this.#at);
    this.#bytes[this.#at++] = 0;
  }

  /** @throws Error when it is none */
  signature(value: string): void {
    parseSignature(value);
    this.byte(value.length);
    this.#room(value.length + 1);
    this.#at += this.#bytes.write(value, this.#at, "latin1");
    this.#bytes[this.#at++] = 0;
  }

  #struct(type: Type, value: unknown): void {
    if (!Array.isArray(value) || value.length !== type.child.length)
      throw mismatch(`an array of ${type.child.length} for ${type.text}`, value);
    this.align(8);
    for (const [index, member] of type.child.entries()) this.value(member, value[index]);
  }

  #array(type: Type, value: unknown): void {
    const [element] = type.child as [Type];
    this.u32(0);
    const lengthAt = this.#at - 4;
    this.align(alignment(element.code));
    const start = this.#at;
    if (element.code === "{") this.#entries(element, value);
    else if (element.code === "y" && value instanceof Uint8Array) this.raw(value);
    else if (Array.isArray(value)) for (const one of value) this.value(element, one);
    else throw mismatch(`an array for ${type.text}`, value);
    this.patch(lengthAt, this.#at - start);
  }

  #entries({ child }: Type, dict: unknown): void {
    if (typeof dict !== "object" || dict === null || Array.isArray(dict)) throw mismatch("an object", dict);
    const [key, type] = child as [Type, Type];
    for (const [name, value] of Object.entries(dict)) {
      this.align(8);
      this.value(key, keyOf(key.code, name));
      this.value(type, value);
    }
  }

  #basic(code: string, value: unknown): void {
    switch (code) {
      case "s":
      case "o":
      case "g":
        this.#string(code, value);
        return;
      case "b":
        if (typeof value !== "boolean") throw mismatch("a boolean", value);
        this.u32(value ? 1 : 0);
        return;
      case "h":
        if (!Number.isInteger(value)) throw mismatch("an fd", value);
        this.u32(this.fds.push(value as number) - 1);
        return;
      case "x":
      case "t":
        this.#long(code, value);
        return;
      case "d":
        if (typeof value !== "number") throw mismatch("a number", value);
        this.align(8);
        this.#room(8);
        this.#at = this.#bytes.writeDoubleLE(value, this.#at);
        return;
      default:
        this.#integer(code, value);
    }
  }

  #string(code: "s" | "o" | "g", value: unknown): void {
    if (typeof value !== "string" || value.includes("\0")) throw mismatch("a string without NUL", value);
    if (code === "o" && !isObjectPath(value)) throw mismatch("an object path", value);
    if (code === "g") this.signature(value);
    else this.text(value);
  }

  #integer(code: string, value: unknown): void {
    const [least, greatest] = INTEGERS[code] as readonly [number, number];
    if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > greatest)
      throw mismatch(`a whole number from ${least} to ${greatest}`, value);
    const size = alignment(code);
    this.align(size);
    this.#room(size);
    const at = this.#at;
    if (code === "y") this.#at = this.#bytes.writeUInt8(value, at);
    else if (code === "n") this.#at = this.#bytes.writeInt16LE(value, at);
    else if (code === "q") this.#at = this.#bytes.writeUInt16LE(value, at);
    else if (code === "i") this.#at = this.#bytes.writeInt32LE(value, at);
    else this.#at = this.#bytes.writeUInt32LE(value, at);
  }

  #long(code: "x" | "t", value: unknown): void {
    const [least, greatest] = LONG[code] as readonly [bigint, bigint];
    const long = typeof value === "number" && Number.isInteger(value) ? BigInt(value) : value;
    if (typeof long !== "bigint" || long < least || long > greatest)
      throw mismatch(`a whole number from ${least} to ${greatest}`, value);
    this.align(8);
    this.#room(8);
    this.#at =
      code === "x" ? this.#bytes.writeBigInt64LE(long, this.#at) : this.#bytes.writeBigUInt64LE(long, this.#at);
  }

  /** Makes room for so many bytes more. */
  #room(size: number): void {
    const needed = this.#at + size;
    if (needed <= this.#bytes.length) return;
    if (needed > MAX_MESSAGE) throw new Error(`the message has more than ${MAX_MESSAGE} bytes`);
    const { bytes, words } = makeScratch(Math.max(needed, 2 * this.#bytes.length));
    this.#bytes.copy(bytes, 0, 0, this.#at);
    this.#bytes = bytes;
    this.#words = words;
  }
}

/** Keys of objects are texts, whatever they stand for. */
function keyOf(code: string, name: string): unknown {
  if (code === "s" || code === "o" || code === "g") return name;
  if (code === "b") return name === "true";
  return code === "x" || code === "t" ? BigInt(name) : Number(name);
}

function mismatch(expected: string, value: unknown): Error {
  const shown = typeof value === "bigint" ? `${value}` : JSON.stringify(value);
  return new Error(`expected ${expected}, got ${shown?.slice(0, 80) ?? typeof value}`);
}
