import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { bootId } from "../host/boot-id.ts";
import { makePrivateDirectory } from "../image/workspace.ts";
import { tryLock } from "../sys/files.ts";

/**
 * What was begun to be downloaded, and what was asked to be kept: CACHE/downloads/HASH, and HASH.json about it. Each is
 * locked while a transfer has it; what is old, or more than there may be, is swept by the next one.
 */
const DIRECTORY = "downloads";
const COUNT_MAX = 16;
const BYTES_MAX = 32 * 2 ** 30;
/** ms */
const AGE_MAX = 7 * 24 * 3600 * 1000;
const META = ".json";
const ATTEMPTS = 10;

/** What is known of a file in the cache. */
export interface Known {
  /** What the server knows this state of it by: an entity tag, or when it was last changed. */
  readonly validator: string;
  /** Bytes of the whole; null: the server did not say. */
  readonly length: number | null;
  /** All of it is there, and was found to be good. */
  readonly complete: boolean;
}

/** The file of one download, while a transfer has it. */
export interface Slot {
  readonly path: string;
  /** Null: there is nothing to go on with. */
  readonly known: Known | null;
  /** Bytes at its beginning that are as they came. */
  readonly stored: number;
  /** Before what it is about is written: whoever kills us leaves what can be gone on with. */
  remember(known: Known, stored: number): void;
  close(keep: boolean): void;
}

/** Bytes and boot tell what a power cut has left of it. */
interface Meta extends Known {
  readonly stored: number;
  readonly boot: string;
}

/** `fallback`: a path for who comes while another transfer downloads the same; nothing of that is kept. */
export async function openSlot(cache: string, key: string, fallback: string): Promise<Slot> {
  const directory = join(cache, DIRECTORY);
  await makePrivateDirectory(cache);
  await makePrivateDirectory(directory);
  sweepDownloads(cache);
  const path = join(directory, createHash("sha256").update(key).digest("hex"));
  const lock = lockFile(path);
  if (lock === null) return privateSlot(fallback);
  const boot = bootId();
  const meta = readMeta(path);
  const size = fstatSync(lock).size;
  return {
    path,
    known: meta,
    stored: meta === null ? 0 : meta.boot === boot ? size : Math.min(size, meta.stored),
    remember: (known, stored) =>
      writeFileSync(`${path}${META}`, JSON.stringify({ ...known, stored, boot }), { mode: 0o600 }),
    close(keep) {
      if (!keep) remove(path);
      closeSync(lock);
    },
  };
}

function privateSlot(path: string): Slot {
  closeSync(openSync(path, "wx", 0o600));
  return {
    ...{ path, known: null, stored: 0 },
    remember: () => undefined,
    close: () => rmSync(path, { force: true }),
  };
}

/** Removes what is too old, too much, or of no use. */
export function sweepDownloads(cache: string): void {
  const directory = join(cache, DIRECTORY);
  const files = namesIn(directory)
    .filter((name) => !name.endsWith(META))
    .flatMap((name) => {
      const stat = statSync(join(directory, name), { throwIfNoEntry: false });
      return stat === undefined ? [] : [{ path: join(directory, name), bytes: stat.size, changed: stat.mtimeMs }];
    })
    .sort((a, b) => b.changed - a.changed);
  let [count, bytes] = [0, 0];
  for (const file of files) {
    const age = Date.now() - file.changed;
    const good = age >= 0 && age < AGE_MAX && readMeta(file.path) !== null;
    if (good && count + 1 < COUNT_MAX && bytes + file.bytes <= BYTES_MAX) {
      count++;
      bytes += file.bytes;
    } else removeUnused(file.path);
  }
}

function removeUnused(path: string): void {
  const lock = lockFile(path);
  if (lock === null) return;
  remove(path);
  closeSync(lock);
}

function remove(path: string): void {
  rmSync(`${path}${META}`, { force: true });
  rmSync(path, { force: true });
}

/** Makes it, too. Null: a transfer has it. */
function lockFile(path: string): number | null {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    const locked = tryLock(fd, path);
    // Who had it may just have removed it.
    if (locked && statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) return fd;
    closeSync(fd);
    if (!locked) return null;
  }
  return null;
}

function readMeta(path: string): Meta | null {
  try {
    const value: unknown = JSON.parse(readFileSync(`${path}${META}`, "utf8"));
    return isMeta(value) ? value : null;
  } catch {
    return null;
  }
}

function isMeta(value: unknown): value is Meta {
  if (typeof value !== "object" || value === null) return false;
  const is = (key: string, type: string): boolean => typeof Reflect.get(value, key) === type;
  const length: unknown = Reflect.get(value, "length");
  return (
    is("validator", "string") &&
    (length === null || Number.isSafeInteger(length)) &&
    is("complete", "boolean") &&
    Number.isSafeInteger(Reflect.get(value, "stored")) &&
    is("boot", "string")
  );
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
