import { type BigIntStats, closeSync, fstatSync, openSync, readdirSync, readSync } from "node:fs";
import { O_PATH } from "../sys/constants.ts";
import { O_DIRECTORY, readLinkBytes } from "../sys/files.ts";
import { getAttribute, listAttributes, openEntry } from "../sys/owners.ts";

export type EntryType = "file" | "directory" | "symlink" | "fifo" | "socket" | "block" | "character";

/** Something in a tree, held by an fd that opens no device and waits for no fifo. */
export interface Entry extends Disposable {
  readonly fd: number;
  readonly stat: BigIntStats;
  readonly type: EntryType;
}

/** The root of a tree; `path` is the host's. */
export function openTop(path: string): Entry {
  return entryOf(openSync(path, O_PATH | O_DIRECTORY));
}

/** Null: there is none any more. A name is one step, through no link. */
export function openChild({ fd }: Entry, name: string): Entry | null {
  const child = openEntry(fd, Buffer.from(name, "latin1"));
  return child === null ? null : entryOf(child);
}

function entryOf(fd: number): Entry {
  const stat = fstatSync(fd, { bigint: true });
  return { fd, stat, type: typeOf(stat), [Symbol.dispose]: () => closeSync(fd) };
}

function typeOf(stat: BigIntStats): EntryType {
  if (stat.isFile()) return "file";
  if (stat.isDirectory()) return "directory";
  if (stat.isSymbolicLink()) return "symlink";
  if (stat.isFIFO()) return "fifo";
  if (stat.isSocket()) return "socket";
  return stat.isBlockDevice() ? "block" : "character";
}

/** Names in a directory as they are, byte by byte (`latin1`), in their order. */
export function namesIn({ fd }: Entry): readonly string[] {
  return readdirSync(`/proc/self/fd/${fd}`, { encoding: "buffer" })
    .map((name) => name.toString("latin1"))
    .sort();
}

export function targetOf({ fd }: Entry): string {
  return readLinkBytes(fd).toString("latin1");
}

/** Its extended attributes, but of overlays, which keep their own notes there; values as hex. */
export function attributesOf(entry: Entry): ReadonlyMap<string, string> {
  // Links have none that a user could set, and none that can be read by an fd.
  if (entry.type === "symlink") return new Map();
  const names = listAttributes(entry.fd).filter((name) => !/^(user|trusted)\.overlay\./.test(name));
  return new Map(names.sort().map((name) => [name, getAttribute(entry.fd, name)?.toString("hex") ?? ""]));
}

const PIECE = 256 << 10;
const pieces = [Buffer.alloc(PIECE), Buffer.alloc(PIECE)] as const;

/** Of two files of one size. */
export function sameContent(one: Entry, other: Entry): boolean {
  const fds = [open(one), open(other)] as const;
  try {
    for (;;) {
      const [a, b] = [readPiece(fds[0], pieces[0]), readPiece(fds[1], pieces[1])];
      if (!a.equals(b)) return false;
      if (a.length === 0) return true;
    }
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}

function open({ fd }: Entry): number {
  return openSync(`/proc/self/fd/${fd}`, "r");
}

function readPiece(fd: number, piece: Buffer): Buffer {
  let length = 0;
  for (let got = -1; got !== 0 && length < PIECE; length += got)
    got = readSync(fd, piece, length, PIECE - length, null);
  return piece.subarray(0, length);
}
