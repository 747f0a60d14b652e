import { readFileSync } from "node:fs";
import { BerthError, errorCode } from "../errors.ts";
import { isObject } from "../spec/is-object.ts";
import { isLocked } from "../sys/file-lock.ts";
import { hash32 } from "./hash.ts";
import { type IdRange, PICK_WINDOW, parseSubordinateIds, RANGE_SIZE } from "./id-ranges.ts";
import { KeptFile } from "./kept-file.ts";

/** Where berth remembers which range a machine got: it keeps it for good, and no other machine gets it. */
export function ledgerPath(machines: string): string {
  return `${machines}/.berth-ranges.json`;
}

/** Registry of the ranges that running containers use, a lock file each: systemd-nspawn's own, so that both heed it. */
export const RANGES_IN_USE = "/run/systemd/nspawn-uid";

export const LEDGER_VERSION = 1;

export interface RangeLedger {
  /** First host id by machine name: each a range that PrivateUsers=pick may give, and no two the same. */
  readonly ranges: ReadonlyMap<string, number>;
  /** There is a file, but no ledger in it. */
  readonly damaged: boolean;
}

/**
 * What the file says is checked, since it decides which ids of the host a machine gets: what can't be true is left out.
 * @throws BerthError when another version of berth wrote it
 */
export function readLedger(path: string): RangeLedger {
  const text = readLedgerText(path);
  if (text === null) return { ranges: new Map(), damaged: false };
  if (last?.text !== text) last = { text, ledger: ledgerOf(text, path) };
  return last.ledger;
}

/** What was read last: starts come one after the other, and most change nothing in it. */
let last: { readonly text: string; readonly ledger: RangeLedger } | undefined;

function ledgerOf(text: string, path: string): RangeLedger {
  const ledger = parse(text);
  if (!isObject(ledger) || !Number.isInteger(ledger["version"])) return { ranges: new Map(), damaged: true };
  if (ledger["version"] !== LEDGER_VERSION)
    throw new BerthError(`${path} is of version ${ledger["version"]}, not ${LEDGER_VERSION}: another berth wrote it`, {
      hint: "use that berth, or move the file away: machines then get new ranges of ids",
    });
  if (!isObject(ledger["ranges"])) return { ranges: new Map(), damaged: true };
  const names = new Map<number, string>();
  for (const [name, base] of Object.entries(ledger["ranges"]))
    if (isPickable(base) && !names.has(base)) names.set(base, name);
  return { ranges: new Map([...names].map(([base, name]) => [name, base])), damaged: false };
}

/**
 * The range a machine has, or would get: the one that its tree's owners are of (`disk`, as systemd-nspawn has it); the
 * ledger's; else one by a hash of its name, so that it comes out the same again, and from there on the first that nobody
 * has. Null: none is left. Nothing is reserved yet (step claim-range).
 */
export function pickRange(
  name: string,
  machines: string,
  disk: number | null = null,
  inUse: (base: number) => boolean = isInUse,
): number | null {
  const { ranges } = readLedger(ledgerPath(machines));
  const own = ranges.get(name);
  const others = (): number[] => [...ranges].filter(([other]) => other !== name).map(([, start]) => start);
  const isHosts = (base: number): boolean => hostRanges().some((range) => overlaps(range, base));
  if (isPickable(disk) && !others().includes(disk) && !isHosts(disk) && !inUse(disk)) return disk;
  if (own !== undefined && !inUse(own)) return own;
  const [taken, hosts] = [new Set(others()), hostRanges()];
  const slots = (PICK_WINDOW.last - PICK_WINDOW.first) / RANGE_SIZE + 1;
  const first = hash32(Buffer.from(`${machines}\0${name}`)) % slots;
  for (let tried = 0; tried < slots; tried++) {
    const base = PICK_WINDOW.first + ((first + tried) % slots) * RANGE_SIZE;
    if (!taken.has(base) && !hosts.some((range) => overlaps(range, base)) && !inUse(base)) return base;
  }
  return null;
}

const HOST_FILES: readonly KeptFile<readonly IdRange[]>[] = [
  ...["/etc/subuid", "/etc/subgid"].map((path) => new KeptFile(path, parseSubordinateIds)),
  ...["/etc/passwd", "/etc/group"].map((path) => new KeptFile(path, parseHighIds)),
];

/** What the host gave away otherwise: subordinate ids of its users, and users that have ids this high. */
function hostRanges(): readonly IdRange[] {
  return HOST_FILES.flatMap((file) => file.read());
}

function parseHighIds(text: string): readonly IdRange[] {
  return text
    .split("\n")
    .map((line) => Number(line.split(":")[2]))
    .filter((id) => id >= PICK_WINDOW.first)
    .map((start) => ({ start, count: 1 }));
}

function overlaps({ start, count }: IdRange, base: number): boolean {
  return start < base + RANGE_SIZE && base < start + count;
}

/** By the lock, as a manager that was killed leaves the file. */
function isInUse(base: number): boolean {
  return isLocked(`${RANGES_IN_USE}/${base}`);
}

function isPickable(base: unknown): base is number {
  const { first, last } = PICK_WINDOW;
  return typeof base === "number" && base >= first && base <= last && base % RANGE_SIZE === 0;
}

/** Null: none yet, or none for us to read (who plans without root sees the range that a new machine would get). */
function readLedgerText(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return ["ENOENT", "EACCES"].includes(errorCode(error) ?? "") ? null : "";
  }
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
