import { isUtf8 } from "node:buffer";
import { isObjectPath } from "./names.ts";
import { alignment, parseSignature, parseSingle, type Type } from "./signature.ts";
import { Variant } from "./values.ts";

/** "Marshaling (Wire Format)": 64 MiB in the specification; nothing that berth hears is near it. */
const MAX_ARRAY = 8 << 20;
/** So many are read in some 10 ms: a body is read in one go, and who sends it must not keep all others waiting. */
const MAX_VALUES = 100_000;
/** Of variants within variants and what is in those; the specification allows 64 in all. */
const MAX_DEPTH = 64;

/**
 * Reads a marshalled body. The bytes are anybody's: every length is checked before it is used, every array has elements
 * that take bytes, and depth is bounded, so that reading takes a time that grows with the bytes, and either gives values
 * of the signature's types or throws an Error with one sentence.
 */
export class Unmarshaller {
  readonly #bytes: Buffer;
  readonly #little: boolean;
  readonly #fds: readonly number[];
  #at: number;
  #depth = 0;
  #values = 0;
  #named: Set<number> | undefined;

  /** Alignment counts from the beginning of `bytes`; `at` is where reading begins. */
  constructor(
    bytes: Buffer,
    options: { readonly little: boolean; readonly fds?: readonly number[]; readonly at?: number },
  ) {
    this.#bytes = bytes;
    this.#little = options.little;
    this.#fds = options.fds ?? [];
    this.#at = options.at ?? 0;
  }

  /** Where the next value begins, before its padding. */
  get at(): number {
    return this.#at;
  }

  /** The fds that values are. */
  get namedFds(): ReadonlySet<number> {
    return this.#named ?? new Set();
  }

  /** Values of all complete types of the signature. */
  read(signature: string): unknown[] {
    return parseSignature(signature).map((type) => this.#value(type));
  }

  /** Nothing may follow. */
  end(): void {
    if (this.#at !== this.#bytes.length) throw new Error(`${this.#bytes.length - this.#at} bytes follow its values`);
  }

  align(to: number): void {
    const next = (this.#at + to - 1) & -to;
    this.#need(next - this.#at);
    for (; this.#at < next; this.#at++) if (this.#bytes[this.#at] !== 0) throw new Error("padding is not zero");
  }

  u32(): number {
    this.align(4);
    const at = this.#take(4);
    return this.#little ? this.#bytes.readUInt32LE(at) : this.#bytes.readUInt32BE(at);
  }

  /** Structs of a code and a variant, as the header of a message has them. */
  fields(take: (code: number, type: string, value: unknown) => void): void {
    const end = this.#begin(8);
    while (this.#at < end) {
      this.align(8);
      const code = this.#bytes[this.#take(1)] as number;
      const type = this.#signature();
      take(code, type, this.#value(parseSingle(type)));
    }
    this.#ended(end);
  }

  #value(type: Type): unknown {
    if (++this.#values > MAX_VALUES) throw new Error(`it has more than ${MAX_VALUES} values`);
    if (++this.#depth > MAX_DEPTH) throw new Error("values are nested too deep");
    const value = this.#unguarded(type);
    this.#depth--;
    return value;
  }

  #unguarded(type: Type): unknown {
    switch (type.code) {
      case "a":
        return this.#array(type.child[0] as Type);
      case "(":
        this.align(8);
        return type.child.map((member) => this.#value(member));
      case "v": {
        const signature = this.#signature();
        return new Variant(signature, this.#value(parseSingle(signature)));
      }
      default:
        return this.#basic(type.code);
    }
  }

  #basic(code: string): unknown {
    switch (code) {
      case "y":
        return this.#bytes[this.#take(1)];
      case "b": {
        const value = this.u32();
        if (value > 1) throw new Error(`a boolean is ${value}`);
        return value === 1;
      }
      case "u":
        return this.u32();
      case "s":
        return this.#text(this.u32());
      case "o": {
        const path = this.#text(this.u32());
        if (!isObjectPath(path)) throw new Error(`${JSON.stringify(path.slice(0, 80))} is no object path`);
        return path;
      }
      case "g": {
        const signature = this.#signature();
        parseSignature(signature);
        return signature;
      }
      case "h": {
        const index = this.u32();
        const fd = this.#fds[index];
        if (fd === undefined) throw new Error(`it has no fd number ${index}`);
        this.#named ??= new Set();
        this.#named.add(fd);
        return fd;
      }
      default:
        return this.#number(code);
    }
  }

  #number(code: string): number | bigint {
    const size = alignment(code);
    this.align(size);
    const at = this.#take(size);
    const [bytes, little] = [this.#bytes, this.#little];
    switch (code) {
      case "n":
        return little ? bytes.readInt16LE(at) : bytes.readInt16BE(at);
      case "q":
        return little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at);
      case "i":
        return little ? bytes.readInt32LE(at) : bytes.readInt32BE(at);
      case "x":
        return little ? bytes.readBigInt64LE(at) : bytes.readBigInt64BE(at);
      case "t":
        return little ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at);
      default:
        return little ? bytes.readDoubleLE(at) : bytes.readDoubleBE(at);
    }
  }

  /** Of an array, whose end this is. */
  #begin(aligned: number): number {
    const length = this.u32();
    if (length > MAX_ARRAY) throw new Error(`an array has ${length} bytes, over ${MAX_ARRAY}`);
    this.align(aligned);
    this.#need(length);
    return this.#at + length;
  }

  #array(element: Type): unknown {
    const end = this.#begin(alignment(element.code));
    if (element.code === "y") return Buffer.from(this.#bytes.subarray(this.#take(end - this.#at), end));
    if (element.code === "{") return this.#dict(element, end);
    const values: unknown[] = [];
    while (this.#at < end) values.push(this.#value(element));
    this.#ended(end);
    return values;
  }

  #dict(entry: Type, end: number): Record<string, unknown> {
    const dict: Record<string, unknown> = {};
    const [key, value] = entry.child as [Type, Type];
    while (this.#at < end) {
      this.align(8);
      const name = String(this.#value(key));
      const read = this.#value(value);
      // A key `__proto__` is an entry as any other.
      if (name === "__proto__") Object.defineProperty(dict, name, { value: read, enumerable: true });
      else dict[name] = read;
    }
    this.#ended(end);
    return dict;
  }

  #ended(end: number): void {
    if (this.#at !== end) throw new Error("the last element of an array goes beyond its end");
  }

  #signature(): string {
    return this.#text(this.#bytes[this.#take(1)] ?? 0);
  }

  #text(length: number): string {
    this.#need(length + 1);
    const start = this.#at;
    const end = start + length;
    this.#at = end + 1;
    const text = this.#bytes.toString("utf8", start, end);
    if (this.#bytes[end] !== 0 || text.includes("\0")) throw new Error("a string does not end where it should");
    // What stands for bytes that are not UTF-8; a sender may have written it as well.
    if (text.includes("\ufffd") && !isUtf8(this.#bytes.subarray(start, end))) throw new Error("a string is not UTF-8");
    return text;
  }

  /** The beginning of the next `size` bytes, which are used up. */
  #take(size: number): number {
    this.#need(size);
    this.#at += size;
    return this.#at - size;
  }

  #need(size: number): void {
    if (this.#at + size > this.#bytes.length) throw new Error("it ends too early");
  }
}
