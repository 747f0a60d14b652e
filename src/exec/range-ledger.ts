import { mkdirSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { LEDGER_VERSION, type RangeLedger, readLedger } from "../host/ranges.ts";
import { closeQuietly, lockWaiting } from "../sys/files.ts";

/**
 * Writes down which range a machine has. Returns how to take that back: only what was new is.
 * The file is replaced whole and a lock beside it makes one writer wait for the other, so it is never half written.
 */
export function recordRange(path: string, name: string, base: number): () => void {
  // The caller holds the lock of the name: nobody else changes its entry, and most starts find it as it should be.
  if (readLedger(path).ranges.get(name) === base) return () => undefined;
  const before = update(path, (ranges) => ranges.set(name, base));
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

/** Returns what was in it before. */
function update(path: string, change: (ranges: Map<string, number>) => void): RangeLedger["ranges"] {
  return withLock(path, () => {
    moveDamaged(path);
    const { ranges } = readLedger(path);
    const changed = new Map(ranges);
    change(changed);
    if (changed.size === 0) rmSync(path, { force: true });
    else {
      const ledger = { version: LEDGER_VERSION, ranges: Object.fromEntries(changed) };
      const temporary = `${path}.new`;
      writeFileSync(temporary, `${JSON.stringify(ledger, null, 1)}\n`, { mode: 0o600, flush: true });
      renameSync(temporary, path);
    }
    return ranges;
  });
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
