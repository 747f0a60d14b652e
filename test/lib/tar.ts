/**
 * Archives that no tar(1) would write, byte for byte.
 *
 *   tar([file("etc/os-release", "ID=x\n"), link("l", "/etc"), file("l/passwd", "evil")])       // a whole archive
 *   tar([...], { end: 0 })                                                                   // without its end
 *   entry({ name: "x", type: "1", target: "../../etc/passwd" })
 */
const BLOCK = 512;
const RECORD = 20 * BLOCK;

export interface Entry {
  readonly name: string;
  /** typeflag of the ustar header: 0 file, 1 hard link, 2 symbolic link, 3 and 4 devices, 5 directory, 6 fifo, x and L headers. */
  readonly type?: string;
  readonly target?: string;
  readonly content?: string | Buffer;
  readonly mode?: number;
  readonly uid?: number;
  /** s since the epoch. */
  readonly mtime?: number;
  /** What the header says, whatever the content has. */
  readonly size?: number;
  /** Of a device. */
  readonly device?: readonly [number, number];
}

export function entry({
  name,
  type = "0",
  target = "",
  content = "",
  mode = 0o644,
  uid = 0,
  mtime = 0,
  size,
  device,
}: Entry): Buffer {
  const data = Buffer.from(content);
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number): void => {
    header.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  };
  header.write(name, 0, 100);
  octal(mode, 100, 8);
  octal(uid, 108, 8);
  octal(uid, 116, 8);
  octal(size ?? data.length, 124, 12);
  octal(mtime, 136, 12);
  header.write("        ", 148);
  header.write(type, 156);
  header.write(target, 157, 100);
  header.write("ustar\x0000", 257, "latin1");
  if (device !== undefined) {
    octal(device[0], 329, 8);
    octal(device[1], 337, 8);
  }
  octal(
    header.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  return Buffer.concat([header, data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);
}

export const file = (name: string, content: string | Buffer = "", more: Partial<Entry> = {}): Buffer =>
  entry({ name, content, ...more });
export const directory = (name: string, mode = 0o755): Buffer => entry({ name, type: "5", mode });
export const link = (name: string, target: string): Buffer => entry({ name, type: "2", target });
export const hardLink = (name: string, target: string): Buffer => entry({ name, type: "1", target });

/** An extended header for the entry after it. */
export function pax(fields: Readonly<Record<string, string>>): Buffer {
  const lines = Object.entries(fields).map(([key, value]) => {
    const rest = Buffer.byteLength(` ${key}=${value}\n`);
    let length = rest;
    while (length !== rest + `${length}`.length) length = rest + `${length}`.length;
    return `${length} ${key}=${value}\n`;
  });
  return entry({ name: "pax", type: "x", content: lines.join("") });
}

/** GNU's own header for a long name. */
export const longName = (name: string): Buffer => entry({ name: "././@LongLink", type: "L", content: `${name}\0` });

/** `end`: how many zero blocks come last; two is what makes it whole. */
export function tar(entries: readonly Buffer[], { end = 2, padded }: { end?: number; padded?: boolean } = {}): Buffer {
  const body = Buffer.concat([...entries, Buffer.alloc(end * BLOCK)]);
  return (padded ?? end === 2) ? Buffer.concat([body, Buffer.alloc((RECORD - (body.length % RECORD)) % RECORD)]) : body;
}

/** The least of a tree. */
export const OS = [directory("./"), directory("./etc"), file("./etc/os-release", "ID=test\n")] as const;
