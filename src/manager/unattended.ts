import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { BerthError } from "../errors.ts";
import { rendezvous } from "../exec/attachment.ts";
import { exitRecordIn } from "../exec/exit-record.ts";
import { bootId } from "../host/boot-id.ts";
import type { Paths } from "../host/paths.ts";
import { treeOf } from "../host/tree-place.ts";
import { outcomeOf } from "../machine/exit-status.ts";
import { isFrozen } from "../machine/freeze.ts";
import { recordsDirectory } from "../machine/places.ts";
import { lookUp, type MachineRecord, readSavedRecord, recordNames, type UnknownMachine } from "../machine/record.ts";
import { monotonic } from "../sys/clock.ts";
import { endOfBoot } from "./end-of-boot.ts";
import { type MachineView, viewOfRecord, viewOfStopped, viewOfUnknown } from "./machine-view.ts";
import { asPolicy } from "./policy.ts";
import { afterEnd, type End, failureOf } from "./restart.ts";
import { asFailure, type Failure, type SavedState, StateFiles } from "./state-file.ts";

/** Machines of a berthd while none runs: what has become of those that do not run, and what the next one is to do with them. */

/** One that does not run, and is more than stopped. */
export interface Unattended {
  readonly view: MachineView;
  readonly failure: Failure | null;
}

/** Whether a berthd has to do with it: it runs, has ended and nobody has seen to that, or is to boot again. */
export function isDaemons(name: string, paths: Paths): boolean {
  const found = lookUp(name, paths);
  if (found?.state === "unknown") return existsSync(rendezvous(dirname(found.file)));
  if (found !== null) return found.managed;
  return endedUnseen(name, paths) !== null || isToBoot(new StateFiles(paths).read(name));
}

/** Of one that runs, or of which nothing more is known. */
export function viewOfOrphan(found: MachineRecord | UnknownMachine, paths: Paths): MachineView {
  if (found.state === "unknown") return viewOfUnknown(found);
  const view = viewOfRecord(
    found,
    isFrozen(found),
    found.managed ? new StateFiles(paths).read(found.name)?.restarts : 0,
  );
  return view.managed && view.state === "starting" ? { ...view, reason: NOT_HEARD } : view;
}

/** All of them. A failure that no berthd has seen is without its last words. */
export function listUnattended(paths: Paths): readonly Unattended[] {
  const names = new Set([...recordNames(paths), ...new StateFiles(paths).names()]);
  return [...names].flatMap((name) => (lookUp(name, paths) === null ? (unattended(name, paths) ?? []) : []));
}

/** Of one that does not run. Null: it is stopped, and stays so. */
export function unattended(name: string, paths: Paths): Unattended | null {
  const state = new StateFiles(paths).read(name);
  const record = state?.next === "stop" ? null : endedUnseen(name, paths);
  const { failure, coming } = record !== null ? afterUnseen(record, paths) : asSaved(state);
  if (failure === null && coming === null) return null;
  const view = viewOfStopped(name, treeOf(paths.machines, name), failure, state?.restarts);
  return { view: coming === null ? view : { ...view, managed: true, reason: coming }, failure };
}

/** How a boot of a daemon's machine ended that nobody has seen to, by what it left. */
export function endOf(record: MachineRecord, paths: Paths): End {
  const exit = exitRecordIn(join(recordsDirectory(paths), record.name));
  const time = exit?.time ?? null;
  if (record.state === "rebooting") return { kind: "reboot", time };
  return { ...endOfBoot(outcomeOf(exit), record.cgroup), time };
}

/** Of one that boots: the keeper hears its init, and tells a berthd. */
const NOT_HEARD = "it was not ready when berthd ended; the next one knows whether it is now";

interface Fate {
  readonly failure: Failure | null;
  /** Why it is to boot again; null: it is not. */
  readonly coming: string | null;
}

const STOPPED: Fate = { failure: null, coming: null };

function asSaved(state: SavedState | undefined): Fate {
  if (isToBoot(state)) return { ...STOPPED, coming: comes("it was to boot again when berthd ended") };
  return { ...STOPPED, failure: state?.failure ?? null };
}

function afterUnseen(record: MachineRecord, paths: Paths): Fate {
  const end = endOf(record, paths);
  if (end.kind === "reboot") return { ...STOPPED, coming: comes("it rebooted") };
  const policy = asPolicy(record.policy);
  // Its settings say then. They may be anything by now.
  if (policy === undefined)
    return { ...STOPPED, coming: `${failureOf(end) ?? "it ended"}; berthd decides what follows` };
  const starts = { times: [record.times.executedMonotonic], row: 0 };
  const next = afterEnd(end, policy.restart, starts, monotonic());
  if (next.kind === "restart") return { ...STOPPED, coming: comes(next.why) };
  if (next.kind === "stopped") return STOPPED;
  return { ...STOPPED, failure: asFailure(new BerthError(next.reason), [], end.time) };
}

function comes(why: string): string {
  return `${why}; berthd boots it again when it runs`;
}

/** In this boot of the host. */
function endedUnseen(name: string, paths: Paths): MachineRecord | null {
  const saved = readSavedRecord(name, paths);
  return saved.state !== "unknown" && saved.managed && saved.bootId === bootId() ? saved : null;
}

function isToBoot(state: SavedState | undefined): boolean {
  return state?.next === "reboot" || state?.next === "restart";
}
