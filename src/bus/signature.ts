/**
 * Signatures of the D-Bus specification ("Type System"): parsed once each, checked as dbus-daemon checks them. What is
 * received names its own types in variants, so texts of any kind come here.
 */

/** One complete type. `child`: of an array its element, of a struct its members, of a dict entry key and value. */
export interface Type {
  readonly code: string;
  readonly child: readonly Type[];
  /** As in the signature. */
  readonly text: string;
}

const BASIC = "ybnqiuxtdsogh";
const MAX_LENGTH = 255;
/** Of arrays and of structs, each; dict entries count as structs. */
const MAX_DEPTH = 32;
/** Variants in messages may name signatures without end: those beyond it are parsed anew each time. */
const CACHED = 1000;

const cache = new Map<string, readonly Type[]>();

/** The complete types of a signature. @throws Error that quotes it */
export function parseSignature(signature: string): readonly Type[] {
  let types = cache.get(signature);
  if (types) return types;
  types = new Parser(signature).all();
  if (cache.size < CACHED) cache.set(signature, types);
  return types;
}

/** The type of a signature that has to be one complete type, as a variant's. @throws Error that quotes it */
export function parseSingle(signature: string): Type {
  const [type, ...more] = parseSignature(signature);
  if (type === undefined || more.length > 0) throw new Error(`the signature ${quoted(signature)} is not one type`);
  return type;
}

/** To how many bytes a value of the type is aligned. */
export function alignment(code: string): 1 | 2 | 4 | 8 {
  if ("xtd({".includes(code)) return 8;
  if ("nq".includes(code)) return 2;
  return "ygv".includes(code) ? 1 : 4;
}

function quoted(signature: string): string {
  return JSON.stringify(signature.length > MAX_LENGTH ? `${signature.slice(0, 40)}...` : signature);
}

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  all(): Type[] {
    if (this.#text.length > MAX_LENGTH) this.#fail("is longer than 255 bytes");
    const types: Type[] = [];
    while (this.#at < this.#text.length) types.push(this.#one(0, 0));
    return types;
  }

  #one(arrays: number, structs: number): Type {
    const start = this.#at;
    const code = this.#text[this.#at++] ?? this.#fail("ends too early");
    if (arrays > MAX_DEPTH || structs > MAX_DEPTH) this.#fail("is nested too deep");
    let child: Type[] = [];
    if (code === "a")
      child = [this.#text[this.#at] === "{" ? this.#dictEntry(arrays, structs) : this.#one(arrays + 1, structs)];
    else if (code === "(") child = this.#members(arrays, structs);
    else if (code !== "v" && !BASIC.includes(code)) this.#fail(`has no type ${JSON.stringify(code)} there`);
    return { code, child, text: this.#text.slice(start, this.#at) };
  }

  #members(arrays: number, structs: number): Type[] {
    const members: Type[] = [];
    while (this.#text[this.#at] !== ")") members.push(this.#one(arrays, structs + 1));
    this.#at++;
    // It would take no bytes: an array of them would never end.
    if (members.length === 0) this.#fail("has an empty struct");
    return members;
  }

  #dictEntry(arrays: number, structs: number): Type {
    const start = this.#at++;
    const key = this.#one(arrays + 1, structs + 1);
    if (!BASIC.includes(key.code)) this.#fail("has a dict with a key that is no basic type");
    const value = this.#one(arrays + 1, structs + 1);
    if (this.#text[this.#at++] !== "}") this.#fail("has a dict entry that is not of two types");
    return { code: "{", child: [key, value], text: this.#text.slice(start, this.#at) };
  }

  #fail(what: string): never {
    throw new Error(`the signature ${quoted(this.#text)} ${what}`);
  }
}
