import type { Property } from "./interface.ts";
import { encode, type IncomingMessage, METHOD_RETURN, NO_REPLY_EXPECTED } from "./message.ts";
import { Variant } from "./values.ts";

/** Twice as many as this are kept, each of so many bytes at most: they are anybody's to fill. */
const KNOWN = 128;
const KNOWN_BYTES = 512;
const LITTLE_ENDIAN = 0x6c;
/** Where a call has the length of its body, its serial, which is all that differs when it is sent again, and the rest. */
const [BODY_AT, SERIAL_AT, REST_AT] = [4, 8, 12];
/** Words of an answer: its serial, and that of the call, which is the first of its fields. */
const [SERIAL, REPLY_SERIAL] = [2, 5];

/** A property that was read. */
export interface Read {
  readonly property: Property;
  /** Whether the object it was read of is still what there is; undefined: only who looks for it knows. */
  readonly isCurrent: (() => boolean) | undefined;
}

interface Known extends Read {
  /** The call's first words: what it is, and the length of its body. */
  readonly head: number;
  readonly body: number;
  /** Who asks. */
  readonly destination: string | undefined;
  /** What was answered last, and in which bytes; null: nothing yet. */
  value: unknown;
  answer: { readonly bytes: Buffer; readonly words: Uint32Array } | null;
}

/**
 * Calls that read a property, by their bytes: who asks again sends the same ones, and gets the same as long as the value is.
 * To take the call apart, look for the object and put the answer together takes several times as long where nothing of that has
 * been compiled.
 */
export class KnownReads {
  /** By the rest of the call: those of late, and others from before. */
  #known = new Map<string, Known>();
  #older = new Map<string, Known>();
  /** Told of each call that is answered here. */
  onAnswer: () => void = () => undefined;

  /** This call, whose answer was a property's value, is known from now on. */
  learn({ bytes, header }: IncomingMessage, read: Read): void {
    if (bytes.length > KNOWN_BYTES || bytes[0] !== LITTLE_ENDIAN) return;
    if ((header.flags & NO_REPLY_EXPECTED) !== 0 || header.unixFds !== undefined) return;
    const rest = restOf(bytes, bytes.length);
    if (this.#find(rest) !== undefined) return; // it came together with another one
    const [head, body] = [bytes.readUInt32LE(0), bytes.readUInt32LE(BODY_AT)];
    this.#keep(rest, {
      ...read,
      head,
      body,
      destination: header.sender,
      value: undefined,
      answer: null,
    });
  }

  /**
   * The answer to a call of so many bytes, with this serial of its own, to be sent before the next one is asked for;
   * undefined: the call has to be looked at.
   */
  answer(bytes: Buffer, length: number, serial: number): Buffer | undefined {
    if (length > KNOWN_BYTES || length <= REST_AT) return undefined;
    const rest = restOf(bytes, length);
    const known = this.#find(rest);
    if (known === undefined) return undefined;
    if (bytes.readUInt32LE(0) !== known.head || bytes.readUInt32LE(BODY_AT) !== known.body) return undefined;
    const words = wordsNow(known);
    const asks = bytes.readUInt32LE(SERIAL_AT);
    if (words === undefined || known.answer === null || asks === 0) {
      this.#known.delete(rest);
      this.#older.delete(rest);
      return undefined;
    }
    this.onAnswer();
    words[SERIAL] = serial;
    words[REPLY_SERIAL] = asks;
    return known.answer.bytes;
  }

  #find(rest: string): Known | undefined {
    const known = this.#known.get(rest);
    if (known !== undefined) return known;
    const older = this.#older.get(rest);
    if (older !== undefined) this.#keep(rest, older);
    return older;
  }

  #keep(rest: string, known: Known): void {
    if (this.#known.size >= KNOWN) {
      this.#older = this.#known;
      this.#known = new Map();
    }
    this.#known.set(rest, known);
  }
}

function restOf(bytes: Buffer, length: number): string {
  return bytes.toString("latin1", REST_AT, length);
}

/** Of the answer as it is now; undefined: its value is none that is told by being equal, or the ordinary way says what is wrong. */
function wordsNow(known: Known): Uint32Array | undefined {
  try {
    if (known.isCurrent?.() === false) return undefined;
    const value = known.property.read();
    if (typeof value === "object") return undefined;
    if (known.answer === null || known.value !== value) known.answer = answerWith(value, known);
    known.value = value;
    return known.answer.words;
  } catch {
    return undefined;
  }
}

function answerWith(value: unknown, { property, destination }: Known): NonNullable<Known["answer"]> {
  const { bytes } = encode({
    ...{ type: METHOD_RETURN, serial: 1, replySerial: 1, destination, signature: "v" },
    body: [new Variant(property.type, value)],
  });
  // In memory of its own, which begins with a whole word.
  const own = Buffer.allocUnsafeSlow((bytes.length + 3) & ~3);
  bytes.copy(own);
  return { bytes: own.subarray(0, bytes.length), words: new Uint32Array(own.buffer) };
}
