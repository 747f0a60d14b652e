import { marshallMessage } from "dbus-next/lib/marshall-compat.js";
import { Message } from "dbus-next/lib/message-type.js";
import { closeQuietly } from "../sys/files.ts";
import { DBusError } from "./dbus-error.ts";
import { isMember } from "./names.ts";
import { parseSignature, type Type } from "./signature.ts";
import { Unmarshaller } from "./unmarshal.ts";
import { Variant } from "./values.ts";

export const METHOD_CALL = 1;
export const METHOD_RETURN = 2;
export const ERROR = 3;
export const SIGNAL = 4;

export const NO_REPLY_EXPECTED = 1;
export const NO_AUTO_START = 2;
export const ALLOW_INTERACTIVE_AUTHORIZATION = 4;

export interface Header {
  readonly type: number;
  readonly flags: number;
  readonly serial: number;
  readonly path?: string | undefined;
  readonly interface?: string | undefined;
  readonly member?: string | undefined;
  readonly errorName?: string | undefined;
  readonly replySerial?: number | undefined;
  readonly destination?: string | undefined;
  readonly sender?: string | undefined;
  readonly signature: string;
}

/** A message that was received. Its header is sound; its body is looked at when somebody knows what it should be. */
export class IncomingMessage {
  readonly header: Header;
  readonly #bytes: Buffer;
  readonly #little: boolean;
  #fds: readonly number[];

  constructor(
    header: Header,
    body: { readonly bytes: Buffer; readonly little: boolean; readonly fds: readonly number[] },
  ) {
    this.header = header;
    this.#bytes = body.bytes;
    this.#little = body.little;
    this.#fds = body.fds;
  }

  /** Once: its values. Those of type h are fds that are whoever's who calls this; others that came along are closed. */
  read(): unknown[] {
    const reader = new Unmarshaller(this.#bytes, { little: this.#little, fds: this.#fds });
    try {
      const values = reader.read(this.header.signature);
      reader.end();
      for (const fd of this.#fds) if (!reader.namedFds.has(fd)) closeQuietly(fd);
      this.#fds = [...reader.namedFds];
      return values;
    } catch (error) {
      this.closeFds();
      throw new DBusError("InvalidArgs", `The message can't be read: ${(error as Error).message}`);
    }
  }

  get fds(): readonly number[] {
    return this.#fds;
  }

  /** They are the caller's now. */
  takeFds(): readonly number[] {
    const taken = this.#fds;
    this.#fds = [];
    return taken;
  }

  /** Those nobody took. */
  closeFds(): void {
    for (const fd of this.takeFds()) closeQuietly(fd);
  }
}

export interface Outgoing extends Omit<Header, "sender" | "flags"> {
  readonly flags?: number;
  readonly body: readonly unknown[];
}

/** The bytes, and the fds to send with them. @throws Error when the body does not fit the signature; its fds are closed then */
export function encode(message: Outgoing): { readonly bytes: Buffer; readonly fds: readonly number[] } {
  try {
    // dbus-next means to check it, too, but does not.
    if (message.member !== undefined && !isMember(message.member)) throw new Error(`no member: ${message.member}`);
    const [bytes, fds] = marshallMessage(new Message(message));
    verify(bytes, message.signature, fds);
    return { bytes, fds };
  } catch (error) {
    closeFdsIn(message);
    throw error;
  }
}

/** Of a message that will not be sent. */
export function closeFdsIn(message: Pick<Outgoing, "signature" | "body">): void {
  for (const fd of fdsOf(parseSignature(message.signature), message.body)) closeQuietly(fd);
}

/**
 * A bus drops who sends it anything malformed, and with it all that we have there. dbus-next's marshaller lets some of
 * that through (object paths, signatures), so what it made has to be what our own reader accepts.
 */
function verify(bytes: Buffer, signature: string, fds: readonly number[]): void {
  const header = (16 + bytes.readUInt32LE(12) + 7) & ~7;
  const reader = new Unmarshaller(bytes.subarray(header), { little: true, fds });
  reader.read(signature);
  reader.end();
}

/** The fds in a body, as far as it fits its signature. */
function fdsOf(types: readonly Type[], values: unknown): number[] {
  if (!Array.isArray(values)) return [];
  return types.flatMap((type, index): number[] => {
    const value: unknown = values[index];
    if (type.code === "h") return typeof value === "number" ? [value] : [];
    if (type.code === "(") return fdsOf(type.child, value);
    if (type.code === "v") return value instanceof Variant ? fdsOf(parseSignature(value.signature), [value.value]) : [];
    if (type.code !== "a" || typeof value !== "object" || value === null) return [];
    const [element] = type.child;
    const elements: unknown[] = Object.values(value);
    if (element?.code === "{") return elements.flatMap((one) => fdsOf(element.child.slice(1), [one]));
    return element && element.code !== "y" ? elements.flatMap((one) => fdsOf([element], [one])) : [];
  });
}
