import { closeQuietly } from "../sys/files.ts";
import { ERROR, type Header, IncomingMessage, METHOD_CALL, METHOD_RETURN, SIGNAL } from "./message.ts";
import { isBusName, isInterface, isMember } from "./names.ts";
import { parseSignature } from "./signature.ts";
import { Unmarshaller } from "./unmarshal.ts";

/** The specification allows 128 MiB, and nobody has so much to say to us. */
const MAX_MESSAGE = 16 << 20;
const MAX_FIELDS = 64 << 10;
/** fds that came before the message that has them: more than a message can have. */
const MAX_FDS_WAITING = 512;
/** Bytes of a message before its fields. */
const FIXED = 16;

/** By their code: name and type. Others are to be ignored. */
const FIELDS: Readonly<Record<number, readonly [name: keyof Header, type: string, check?: (text: string) => boolean]>> =
  {
    1: ["path", "o"],
    2: ["interface", "s", isInterface],
    3: ["member", "s", isMember],
    4: ["errorName", "s", isInterface],
    5: ["replySerial", "u"],
    6: ["destination", "s", isBusName],
    7: ["sender", "s", isBusName],
    8: ["signature", "g"],
    9: ["unixFds", "u"],
  };
type Fields = Partial<Header> & Pick<Header, "signature">;

/**
 * Fields of calls by their bytes: who asks again sends the same ones, and to read them takes longer than the answer.
 * As many as are kept, each of so many bytes at most, are anybody's to fill.
 */
const KNOWN = 64;
const KNOWN_BYTES = 512;
const known = new Map<string, Fields>();

/**
 * Makes messages of a stream's bytes and fds. Each message gets exactly the fds its header counts. What it throws is the
 * end of the connection: after a malformed header nobody knows where the next message begins.
 */
export class MessageReader {
  #chunks: Buffer[] = [];
  #length = 0;
  /** Bytes from here to the end of what is waited for: a message's fixed part, then all of it. */
  #needed = FIXED;
  #fds: number[] = [];

  /** Nothing of a message has come that has not come whole. */
  get isBetween(): boolean {
    return this.#length === 0;
  }

  /** @throws Error with one sentence */
  push(chunk: Buffer, fds: readonly number[], onMessage: (message: IncomingMessage) => void): void {
    if (fds.length > 0) this.#fds.push(...fds);
    if (this.#fds.length > MAX_FDS_WAITING) throw new Error("fds came that belong to no message");
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    while (this.#length >= this.#needed) {
      const bytes = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
      this.#chunks = [bytes];
      const size = messageSize(bytes);
      if (this.#length < size) {
        this.#needed = size;
        return;
      }
      this.#chunks = size === bytes.length ? [] : [bytes.subarray(size)];
      this.#length -= size;
      this.#needed = FIXED;
      onMessage(this.#parse(bytes.subarray(0, size)));
    }
  }

  /** Fds of messages that will not come. */
  close(): void {
    for (const fd of this.#fds.splice(0)) closeQuietly(fd);
  }

  #parse(bytes: Buffer): IncomingMessage {
    const little = bytes[0] === 0x6c;
    const header = parseHeader(bytes, little);
    const { unixFds = 0 } = header;
    if (unixFds > this.#fds.length) throw new Error(`a message has ${unixFds} fds, but ${this.#fds.length} came`);
    return new IncomingMessage(header, {
      bytes,
      body: bytes.length - sizes(bytes, little).body,
      little,
      fds: unixFds === 0 ? [] : this.#fds.splice(0, unixFds),
    });
  }
}

function sizes(bytes: Buffer, little: boolean): { readonly body: number; readonly fields: number } {
  const [body, fields] = [4, 12].map((at) => (little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at)));
  return { body: body as number, fields: fields as number };
}

function messageSize(bytes: Buffer): number {
  const little = bytes[0] === 0x6c;
  if (!little && bytes[0] !== 0x42) throw new Error("what came is no message");
  if (bytes[3] !== 1) throw new Error(`a message has protocol version ${bytes[3]}`);
  const { body, fields } = sizes(bytes, little);
  if (fields > MAX_FIELDS || body > MAX_MESSAGE) throw new Error(`a message has ${fields} + ${body} bytes`);
  return ((FIXED + fields + 7) & ~7) + body;
}

function parseHeader(bytes: Buffer, little: boolean): Header {
  const type = bytes[1] as number;
  const { body, fields } = sizes(bytes, little);
  const again = little && type === METHOD_CALL && fields <= KNOWN_BYTES;
  const whole = {
    type,
    flags: bytes[2] as number,
    serial: little ? bytes.readUInt32LE(8) : bytes.readUInt32BE(8),
    ...(again ? knownFields(bytes, FIXED + fields) : parseFields(bytes, little)),
  };
  requireFields(whole, body !== 0);
  return whole;
}

function knownFields(bytes: Buffer, end: number): Fields {
  // With their length before them and what fills the last word after them, as they were checked.
  const key = bytes.toString("latin1", 12, (end + 7) & ~7);
  let found = known.get(key);
  if (found !== undefined) return found;
  found = parseFields(bytes, true);
  if (known.size >= KNOWN) known.clear();
  known.set(key, found);
  return found;
}

function parseFields(bytes: Buffer, little: boolean): Fields {
  const reader = new Unmarshaller(bytes, { little, at: 12 });
  const found: Record<string, unknown> = {};
  reader.fields((code, signature, value) => {
    const field = FIELDS[code];
    if (!field) return;
    const [name, type, check] = field;
    if (signature !== type || check?.(value as string) === false)
      throw new Error(`a message has a wrong ${name} in its header`);
    found[name] = value;
  });
  reader.align(8);
  return { signature: "", ...found };
}

function requireFields(header: Header, hasBody: boolean): void {
  const { type, path, member, interface: name, errorName, replySerial, serial } = header;
  const complete =
    type === METHOD_CALL
      ? path !== undefined && member !== undefined
      : type === SIGNAL
        ? path !== undefined && member !== undefined && name !== undefined
        : type === METHOD_RETURN
          ? replySerial !== undefined
          : type === ERROR
            ? replySerial !== undefined && errorName !== undefined
            : type !== 0;
  if (!complete || serial === 0) throw new Error(`a message of type ${type} lacks something in its header`);
  if (hasBody && parseSignature(header.signature).length === 0) throw new Error("a message has a body of no type");
}
