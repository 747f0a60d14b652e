import {
  closeSync,
  fsync,
  ftruncateSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { LEDGER_VERSION, type RangeLedger, readLedger } from "../host/ranges.ts";
import { closeQuietly, lockWaiting } from "../sys/files.ts";
import { lockFile, unlinkLocked } from "./lock-file.ts";

/*
 * The file is replaced whole and a lock beside it makes one writer wait for the other, so it is never half written. Nobody has
 * that lock while the disk is waited for by a thread: it is looked then whether the file is still what was changed.
 */

type Ranges = RangeLedger["ranges"];
type Change = (ranges: Map<string, number>) => void;

/**
 * Writes down which range a machine has. Resolves, when that is on the disk, to how to take it back: only what was new is.
 */
export async function recordRange(path: string, name: string, base: number): Promise<() => void> {
  // The caller holds the lock of the name: nobody else changes its entry, and most starts find it as it should be.
  if (readLedger(path).ranges.get(name) === base) return () => undefined;
  const before = await updateTogether(path, (ranges) => ranges.set(name, base));
  return () =>
    update(path, (ranges) => {
      const old = before.get(name);
      return old === undefined ? ranges.delete(name) : ranges.set(name, old);
    });
}

/** What `from` has is `to`'s from now on, as its tree is: owners on disk may be of that range. */
export function moveRange(path: string, from: string, to: string): void {
  const base = readLedger(path).ranges.get(from);
  if (base === undefined) return;
  update(path, (ranges) => {
    ranges.delete(from);
    ranges.set(to, base);
  });
}

/** Its tree is gone: the range is free for others. */
export function forgetRange(path: string, name: string): void {
  if (readLedger(path).ranges.has(name)) update(path, (ranges) => ranges.delete(name));
}

/** Renames a ledger that can't be read, so that its place is free for a new one. Returns its new name; null: it is fine. */
export function setAsideDamaged(path: string): string | null {
  return isDamaged(path) ? withLock(path, () => moveDamaged(path)) : null;
}

function moveDamaged(path: string): string | null {
  if (!isDamaged(path)) return null;
  const aside = `${path}.damaged`;
  rmSync(aside, { recursive: true, force: true });
  renameSync(path, aside);
  return aside;
}

/** One of another version is not: who needs it will be told. */
function isDamaged(path: string): boolean {
  try {
    return readLedger(path).damaged;
  } catch {
    return false;
  }
}

/** The file as it is, and as it is to be. Under the lock. */
function read(path: string, changes: readonly Change[]): { readonly before: Ranges; readonly after: Ranges } {
  moveDamaged(path);
  const { ranges } = readLedger(path);
  const after = new Map(ranges);
  for (const change of changes) change(after);
  return { before: ranges, after };
}

function textOf(ranges: Ranges): string {
  return `${JSON.stringify({ version: LEDGER_VERSION, ranges: Object.fromEntries(ranges) }, null, 1)}\n`;
}

function update(path: string, change: Change): void {
  withLock(path, () => {
    const { after } = read(path, [change]);
    if (after.size === 0) rmSync(path, { force: true });
    else {
      const temporary = `${path}.new`;
      writeFileSync(temporary, textOf(after), { mode: 0o600, flush: true });
      renameSync(temporary, path);
    }
  });
}

// ---- by a thread, and what several starts want at a time ----

interface Queue {
  changes: Change[];
  /** That they are written; undefined: there are none. */
  next: Promise<Ranges> | undefined;
  /** That those before them are, or could not be. */
  last: Promise<unknown>;
}

const queues = new Map<string, Queue>();
const syncFile = promisify(fsync);

/** Resolves, when it is on the disk, to what was in it before. What is asked for while the disk is waited for comes next, together. */
function updateTogether(path: string, change: Change): Promise<Ranges> {
  const queue = queues.get(path) ?? { changes: [], next: undefined, last: Promise.resolve() };
  queues.set(path, queue);
  queue.changes.push(change);
  queue.next ??= queue.last.then(() => {
    queue.next = undefined;
    return write(path, queue.changes.splice(0));
  });
  queue.last = queue.next.catch(() => undefined);
  return queue.next;
}

async function write(path: string, changes: readonly Change[]): Promise<Ranges> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.next`;
  const fd = lockFile(temporary);
  // Another process is about to do the same, which is seldom: it is done at once then.
  if (fd === null) return writeNow(path, changes);
  let written: Ranges | undefined;
  try {
    for (;;) {
      const { before, after } = withLock(path, () => read(path, changes));
      ftruncateSync(fd);
      writeSync(fd, textOf(after), 0);
      await syncFile(fd);
      const isStill = (): boolean => textOf(readLedger(path).ranges) === textOf(before);
      written = withLock(path, () => {
        if (!isStill()) return undefined;
        renameSync(temporary, path);
        return before;
      });
      if (written !== undefined) return written;
    }
  } finally {
    if (written === undefined) unlinkLocked(temporary, fd);
    else closeSync(fd);
  }
}

function writeNow(path: string, changes: readonly Change[]): Ranges {
  let before: Ranges = new Map();
  for (const change of changes)
    update(path, (ranges) => {
      if (change === changes[0]) before = new Map(ranges);
      change(ranges);
    });
  return before;
}

function withLock<T>(path: string, act: () => T): T {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const lock = openSync(`${path}.lock`, "w", 0o600);
  try {
    lockWaiting(lock, `${path}.lock`);
    return act();
  } finally {
    closeQuietly(lock);
  }
}
