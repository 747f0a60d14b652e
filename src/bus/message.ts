import { closeQuietly } from "../sys/files.ts";
import { DBusError } from "./dbus-error.ts";
import { MAX_DEPTH, Marshaller } from "./marshal.ts";
import { isBusName, isInterface, isMember, isObjectPath } from "./names.ts";
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
  /** How many come with it. */
  readonly unixFds?: number;
}

/** A message that was received. Its header is sound; its body is looked at when somebody knows what it should be. */
export class IncomingMessage {
  readonly header: Header;
  /** All of it. */
  readonly bytes: Buffer;
  readonly #body: number;
  readonly #little: boolean;
  #fds: readonly number[];

  constructor(
    header: Header,
    whole: { readonly bytes: Buffer; readonly body: number; readonly little: boolean; readonly fds: readonly number[] },
  ) {
    this.header = header;
    this.bytes = whole.bytes;
    this.#body = whole.body;
    this.#little = whole.little;
    this.#fds = whole.fds;
  }

  /** Once: its values. Those of type h are fds that are whoever's who calls this; others that came along are closed. */
  read(): unknown[] {
    const reader = new Unmarshaller(this.bytes.subarray(this.#body), { little: this.#little, fds: this.#fds });
    try {
      const values = reader.read(this.header.signature);
      reader.end();
      if (this.#fds.length > 0) this.#keep(reader.namedFds);
      return values;
    } catch (error) {
      this.closeFds();
      throw new DBusError("InvalidArgs", `The message can't be read: ${(error as Error).message}`);
    }
  }

  /** Of its fds only these. */
  #keep(named: ReadonlySet<number>): void {
    for (const fd of this.#fds) if (!named.has(fd)) closeQuietly(fd);
    this.#fds = [...named];
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
    if (this.#fds.length > 0) for (const fd of this.takeFds()) closeQuietly(fd);
  }
}

export interface Outgoing extends Omit<Header, "sender" | "flags" | "unixFds"> {
  readonly flags?: number;
  readonly body: readonly unknown[];
}

/** Fields of a header that are texts: name, code, type, and what the text has to be. */
const FIELDS = [
  ["path", 1, "o", isObjectPath],
  ["interface", 2, "s", isInterface],
  ["member", 3, "s", isMember],
  ["errorName", 4, "s", isInterface],
  ["destination", 6, "s", isBusName],
] as const;
/** A field that is a number, less the number: its code, and the signature "u". */
const REPLY_SERIAL = 0x00750105;
const UNIX_FDS = 0x00750109;
const LITTLE_ENDIAN = 0x6c;
const PROTOCOL = 1;

/**
 * The bytes, and the fds to send with them.
 * @throws Error when the body does not fit the signature, or a name is none; its fds are closed then
 */
export function encode(message: Outgoing): { readonly bytes: Buffer; readonly fds: readonly number[] } {
  try {
    const marshaller = new Marshaller();
    marshaller.write(message.signature, message.body);
    const [body, { fds }] = [marshaller.finish(), marshaller];
    const texts = isPlainAnswer(message) ? knownTexts(message) : textFields(message);
    const whole = new Marshaller();
    whole.u32(LITTLE_ENDIAN | (message.type << 8) | ((message.flags ?? 0) << 16) | (PROTOCOL << 24));
    whole.u32(body.length);
    whole.u32(message.serial);
    whole.u32(0);
    const start = whole.length;
    // Numbers before texts: they end where the next field may begin, whose bytes are the same wherever that is.
    if (message.replySerial !== undefined) numberField(whole, REPLY_SERIAL, message.replySerial);
    if (fds.length > 0) numberField(whole, UNIX_FDS, fds.length);
    whole.raw(texts);
    whole.patch(start - 4, whole.length - start);
    whole.align(8);
    whole.raw(body);
    return { bytes: whole.finish(), fds };
  } catch (error) {
    closeFdsIn(message);
    throw error;
  }
}

function numberField(header: Marshaller, field: number, value: number): void {
  header.u32(field);
  header.u32(value);
}

/** Of answers, by who asked and what is in them: they go to the same few. */
const KNOWN = 64;
const known = new Map<string, Buffer>();

/** Says who it is for and what is in it, and no more. */
function isPlainAnswer({ path, interface: name, member, errorName, destination }: Outgoing): boolean {
  const others = path ?? name ?? member ?? errorName;
  return others === undefined && destination !== undefined;
}

function knownTexts(message: Outgoing): Buffer {
  const key = `${message.destination}\0${message.signature}`;
  let found = known.get(key);
  if (found !== undefined) return found;
  found = textFields(message);
  if (known.size >= KNOWN) known.clear();
  known.set(key, found);
  return found;
}

function textFields(message: Outgoing): Buffer {
  const fields = new Marshaller();
  const begin = (code: number, type: string): void => {
    fields.align(8);
    fields.byte(code);
    fields.signature(type);
  };
  for (const [name, code, type, check] of FIELDS) {
    const value = message[name];
    if (value === undefined) continue;
    if (!check(value)) throw new Error(`${JSON.stringify(value)} can't be the ${name} of a message`);
    begin(code, type);
    fields.text(value);
  }
  if (message.signature !== "") {
    begin(8, "g");
    fields.signature(message.signature);
  }
  return fields.finish();
}

/** Of a message that will not be sent. */
export function closeFdsIn(message: Pick<Outgoing, "signature" | "body">): void {
  for (const fd of fdsOf(parseSignature(message.signature), message.body)) closeQuietly(fd);
}

/** The fds in a body, as far as it fits its signature, and no deeper than it could be sent. */
function fdsOf(types: readonly Type[], values: unknown, depth = 0): number[] {
  if (!Array.isArray(values) || depth > MAX_DEPTH) return [];
  const within = (inner: readonly Type[], inside: unknown): number[] => fdsOf(inner, inside, depth + 1);
  return types.flatMap((type, index): number[] => {
    const value: unknown = values[index];
    if (type.code === "h") return typeof value === "number" ? [value] : [];
    if (type.code === "(") return within(type.child, value);
    if (type.code === "v")
      return value instanceof Variant ? within(parseSignature(value.signature), [value.value]) : [];
    if (type.code !== "a" || typeof value !== "object" || value === null) return [];
    const [element] = type.child;
    if (!element || element.code === "y") return [];
    const wanted = element.code === "{" ? element.child.slice(1) : [element];
    return Object.values(value).flatMap((one: unknown) => within(wanted, [one]));
  });
}
