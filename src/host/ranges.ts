import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { hash32 } from "./hash.ts";
import { type IdRange, PICK_WINDOW, parseSubordinateIds, RANGE_SIZE } from "./id-ranges.ts";

/** Where berth remembers which range a machine got: it keeps it for good, and no other machine gets it. */
export function ledgerPath(machines: string): string {
  return join(machines, ".berth-ranges.json");
}

/** Registry of the ranges that running containers use, a lock file each: systemd-nspawn's own, so that both heed it. */
export const RANGES_IN_USE = "/run/systemd/nspawn-uid";

export interface RangeLedger {
  readonly version: 1;
  /** First host id by machine name. */
  readonly ranges: Readonly<Record<string, number>>;
}

export function readLedger(path: string): RangeLedger {
  try {
    const ledger = JSON.parse(readFileSync(path, "utf8")) as RangeLedger;
    if (ledger.version === 1 && typeof ledger.ranges === "object") return ledger;
  } catch {
    // None yet, or one that was damaged: it is made anew, and what runs is found by its locks.
  }
  return { version: 1, ranges: {} };
}

/**
 * The range a machine has, or would get: the ledger's; else one by a hash of its name, so that it comes out the same
 * again, and from there on the first that nobody has. Null: none is left. Nothing is reserved yet (step claim-range).
 */
export function pickRange(name: string, machines: string, inUse: (base: number) => boolean = isInUse): number | null {
  const { ranges } = readLedger(ledgerPath(machines));
  const own = Object.hasOwn(ranges, name) ? ranges[name] : undefined;
  if (own !== undefined && !inUse(own)) return own;
  const others = Object.entries(ranges).filter(([other]) => other !== name);
  const taken: readonly IdRange[] = [...others.map(([, start]) => ({ start, count: RANGE_SIZE })), ...hostRanges()];
  const slots = (PICK_WINDOW.last - PICK_WINDOW.first) / RANGE_SIZE + 1;
  const first = hash32(Buffer.from(`${machines}\0${name}`)) % slots;
  for (let tried = 0; tried < slots; tried++) {
    const base = PICK_WINDOW.first + ((first + tried) % slots) * RANGE_SIZE;
    if (!taken.some((range) => overlaps(range, base)) && !inUse(base)) return base;
  }
  return null;
}

/** What the host gave away otherwise: subordinate ids of its users, and users that have ids this high. */
function hostRanges(): readonly IdRange[] {
  const subordinate = ["/etc/subuid", "/etc/subgid"].flatMap((path) => parseSubordinateIds(readText(path)));
  const users = ["/etc/passwd", "/etc/group"].flatMap((path) =>
    readText(path)
      .split("\n")
      .map((line) => Number(line.split(":")[2]))
      .filter((id) => id >= PICK_WINDOW.first)
      .map((start) => ({ start, count: 1 })),
  );
  return [...subordinate, ...users];
}

function overlaps({ start, count }: IdRange, base: number): boolean {
  return start < base + RANGE_SIZE && base < start + count;
}

/** A lock file is removed when its container ends; one that a killed manager left is found out when it is claimed. */
function isInUse(base: number): boolean {
  return existsSync(join(RANGES_IN_USE, String(base)));
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
