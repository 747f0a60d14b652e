import { linkSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import { PICK_WINDOW, RANGE_SIZE } from "../host/id-ranges.ts";
import type { StepOf } from "../plan/step.ts";
import { lockFile, unlinkLocked } from "./lock-file.ts";

type Claim = Pick<StepOf<"claim-range">["args"], "path" | "base" | "size">;

/**
 * The files of systemd-nspawn's registry by which a range is taken: its own, by the number of its base, and one for each
 * range that a manager might pick and that shares an id with it.
 */
export function claimFiles({ path, base, size }: Claim): readonly string[] {
  const files = [path];
  const first = Math.max(base - (base % RANGE_SIZE), PICK_WINDOW.first);
  for (let slot = first; slot < base + size && slot <= PICK_WINDOW.last; slot += RANGE_SIZE)
    if (slot !== base) files.push(join(dirname(path), String(slot)));
  return files;
}

/** Somebody else has some of its ids. */
export class RangeTaken extends BerthError {}

/**
 * Locks them all, as names of one file: so one lock holds the whole range, for as long as any process has it open. Takes
 * away what it made if one of them is somebody else's; returns that one's path then.
 */
export function claimRange(claim: Claim): { readonly fd: number } | { readonly taken: string } {
  const [path = claim.path, ...others] = claimFiles(claim);
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const fd = lockFile(path);
  if (fd === null) return { taken: path };
  const made: string[] = [];
  try {
    const taken = others.find((other) => {
      if (!linkLock(path, other)) return true;
      made.push(other);
      return false;
    });
    if (taken === undefined) return { fd };
    releaseRange([path, ...made], fd);
    return { taken };
  } catch (error) {
    releaseRange([path, ...made], fd);
    throw error;
  }
}

export function releaseRange(files: readonly string[], fd: number): void {
  // The first one last: until then the lock is held, and nobody else has taken one of these names.
  for (const file of files.toReversed()) unlinkLocked(file, file === files[0] ? fd : -1);
}

/** False: somebody holds it. A file that a killed manager has left is replaced. */
function linkLock(path: string, other: string): boolean {
  for (;;) {
    try {
      linkSync(path, other);
      return true;
    } catch (error) {
      if (errorCode(error) !== "EEXIST") throw error;
    }
    const stale = lockFile(other);
    if (stale === null) return false;
    unlinkLocked(other, stale);
  }
}
