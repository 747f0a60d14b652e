import { existsSync, lstatSync, readdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { moveRange } from "../exec/range-ledger.ts";
import type { Paths } from "../host/paths.ts";
import { ledgerPath } from "../host/ranges.ts";
import { type FoundImage, findImage } from "./discover.ts";
import { lockImage } from "./locks.ts";
import { snapshotsOf } from "./snapshots/snapshot.ts";

/*
 * Renaming or removing an image is one rename, but its mark goes before (the kernel moves nothing that is read-only), and its
 * snapshots and its range of ids follow. A link by its name says so meanwhile: `TO read-only`, for whoever comes after
 * one who was killed, or after a power cut.
 */
const PREFIX = ".berth-moving-";
const MARKED = "read-only";

/** To be forgotten when all is done or undone. `to`: its new name; null: it goes. */
export function noteMove(paths: Paths, { name, path, driver }: FoundImage, to: string | null): void {
  const marked = !lstatSync(path).isSymbolicLink() && driver.read(path).readOnly;
  forgetMove(paths, name);
  symlinkSync(`${to ?? ""} ${marked ? MARKED : ""}`, noteOf(paths, name));
}

/** Also where another image is about to have its name. */
export function forgetMove(paths: Paths, name: string): void {
  rmSync(noteOf(paths, name), { force: true });
}

function noteOf({ machines }: Paths, name: string): string {
  return join(machines, `${PREFIX}${name}`);
}

/** Of images that somebody was killed at; those that somebody works on are theirs. */
export function finishMoves(paths: Paths): void {
  if (!existsSync(paths.machines)) return;
  for (const note of readdirSync(paths.machines).filter((name) => name.startsWith(PREFIX)))
    try {
      finishMove(paths, note.slice(PREFIX.length));
    } catch (error) {
      if (!(error instanceof BerthError) || error.kind !== "Busy") throw error;
    }
}

function finishMove(paths: Paths, from: string): void {
  using _from = lockImage(paths, from, "renamed");
  // Who was at it a moment ago has ended well.
  if (lstatSync(noteOf(paths, from), { throwIfNoEntry: false }) === undefined) return;
  const [to = "", marked] = readlinkSync(noteOf(paths, from)).split(" ");
  using _to = to === "" ? undefined : lockImage(paths, to, "made");
  const stayed = findImage(paths, from);
  const moved = stayed === null && to !== "" ? findImage(paths, to) : null;
  if (moved !== null) moveRest(paths, from, to);
  const image = stayed ?? moved;
  if (marked === MARKED) image?.driver.setReadOnly(image.path, true);
  forgetMove(paths, from);
}

/** Its range of ids, as owners on the disk may be of that, and its snapshots. */
export function moveRest(paths: Paths, from: string, to: string): void {
  moveRange(ledgerPath(paths.machines), from, to);
  // Over an empty directory of an earlier image's.
  if (existsSync(snapshotsOf(paths, from))) renameSync(snapshotsOf(paths, from), snapshotsOf(paths, to));
}
