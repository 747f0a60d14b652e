import { mkdirSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { readLedger } from "../host/ranges.ts";
import { closeQuietly, lockWaiting } from "../sys/files.ts";

/**
 * Writes down which range a machine has. Returns how to take that back: only what was new is.
 * The file is replaced whole and a lock beside it makes one writer wait for the other, so it is never half written.
 */
export function recordRange(path: string, name: string, base: number): () => void {
  // The caller holds the lock of the name: nobody else changes its entry, and most starts find it as it should be.
  if (readLedger(path).ranges[name] === base) return () => undefined;
  const before = update(path, (ranges) => ({ ...ranges, [name]: base }));
  return () =>
    update(path, (ranges) => {
      const { [name]: _, ...others } = ranges;
      return before[name] === undefined ? others : { ...others, [name]: before[name] };
    });
}

type Ranges = Readonly<Record<string, number>>;

function update(path: string, change: (ranges: Ranges) => Ranges): Ranges {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const lock = openSync(`${path}.lock`, "w", 0o600);
  try {
    lockWaiting(lock, `${path}.lock`);
    const { ranges } = readLedger(path);
    const changed = change(ranges);
    const temporary = `${path}.new`;
    if (Object.keys(changed).length === 0) rmSync(path, { force: true });
    else {
      writeFileSync(temporary, `${JSON.stringify({ version: 1, ranges: changed }, null, 1)}\n`, {
        mode: 0o600,
        flush: true,
      });
      renameSync(temporary, path);
    }
    return ranges;
  } finally {
    closeQuietly(lock);
  }
}
