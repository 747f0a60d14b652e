const SIMPLE: ReadonlyMap<string, string> = new Map(
  Object.entries({
    a: "\x07",
    b: "\b",
    f: "\f",
    n: "\n",
    r: "\r",
    s: " ",
    t: "\t",
    v: "\v",
    "\\": "\\",
    '"': '"',
    "'": "'",
  }),
);

/** Bytes: `\xff`, `\377`. */
const BYTE = /^(?:x([0-9a-fA-F]{2})|([0-3][0-7]{2}))/;
/** Unicode characters: `\u00e4`, `\U0001f600`. */
const CHARACTER = /^(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/;

/**
 * The bytes that a text with C-style escapes stands for (systemd.syntax(7), "Quoting"), NUL among them: what is not
 * escaped is taken as UTF-8. A number: where in the text a backslash is that begins no escape.
 */
export function unescapeC(text: string): Buffer | number {
  const parts: Buffer[] = [];
  let at = 0;
  while (at < text.length) {
    const backslash = text.indexOf("\\", at);
    const end = backslash < 0 ? text.length : backslash;
    parts.push(Buffer.from(text.slice(at, end)));
    if (backslash < 0) break;
    const read = readEscape(text.slice(backslash + 1, backslash + 10));
    if (read === undefined) return backslash;
    parts.push(read.bytes);
    at = backslash + 1 + read.length;
  }
  return Buffer.concat(parts);
}

function readEscape(text: string): { bytes: Buffer; length: number } | undefined {
  const simple = SIMPLE.get(text.charAt(0));
  if (simple !== undefined) return { bytes: Buffer.from(simple), length: 1 };
  const byte = BYTE.exec(text);
  if (byte !== null) {
    const [all, hex, octal] = byte;
    return {
      bytes: Buffer.of(hex === undefined ? Number.parseInt(octal ?? "", 8) : Number.parseInt(hex, 16)),
      length: all.length,
    };
  }
  const [all = "", short, long] = CHARACTER.exec(text) ?? [];
  const code = Number.parseInt(short ?? long ?? "", 16);
  const exists = code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
  return exists ? { bytes: Buffer.from(String.fromCodePoint(code)), length: all.length } : undefined;
}
