import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { ranOutOfMemory } from "../exec/cgroup.ts";
import { exitRecordIn } from "../exec/exit-record.ts";
import { bootId } from "../host/boot-id.ts";
import type { Paths } from "../host/paths.ts";
import { treeOf } from "../host/tree-place.ts";
import { outcomeOf } from "../machine/exit-status.ts";
import { recordsDirectory } from "../machine/places.ts";
import { lookUp, type MachineRecord, readSavedRecord, recordNames } from "../machine/record.ts";
import { consoleTail } from "../supervise/console-log.ts";
import { type MachineView, viewOfStopped } from "./machine-view.ts";
import { DEFAULT_POLICY, type MachinePolicy } from "./policy.ts";
import { afterEnd, type End } from "./restart.ts";
import { asFailure, type Failure, StateFiles } from "./state-file.ts";

/** Machines of a berthd while none runs: what has become of those that do not run, and what the next one is to do with them. */

/** One that does not run, and is more than stopped. */
export interface Unattended {
  readonly view: MachineView;
  readonly failure: Failure | null;
}

/** Whether a berthd has to do with it: it runs, has ended and nobody has seen to that, or is to boot again. */
export function isDaemons(name: string, paths: Paths): boolean {
  return savedRecord(name, paths) !== null || isToBoot(new StateFiles(paths).read(name)?.next ?? null);
}

/** By name. */
export function listUnattended(paths: Paths): readonly Unattended[] {
  const names = new Set([...recordNames(paths), ...new StateFiles(paths).names()]);
  return [...names].flatMap((name) => (lookUp(name, paths) === null ? (unattended(name, paths) ?? []) : []));
}

/** Of one that does not run. Null: it is stopped, and stays so. */
export function unattended(name: string, paths: Paths): Unattended | null {
  const state = new StateFiles(paths).read(name);
  const record = state?.next === "stop" ? null : savedRecord(name, paths);
  const [failure, again] =
    record !== null
      ? afterUnseen(record, paths)
      : isToBoot(state?.next ?? null)
        ? [null, "it was to boot again when berthd ended"]
        : [state?.failure ?? null, null];
  if (failure === null && again === null) return null;
  const view = viewOfStopped(name, treeOf(paths.machines, name), failure, state?.restarts);
  if (again === null) return { view, failure };
  return { view: { ...view, managed: true, reason: `${again}; berthd boots it again when it runs` }, failure };
}

/** How a boot of a daemon's machine ended that nobody has seen to, by what it left. */
export function endOf(record: MachineRecord, paths: Paths): End {
  const exit = exitRecordIn(join(recordsDirectory(paths), record.name));
  const time = exit === null ? {} : { time: exit.time };
  if (record.state === "rebooting") return { kind: "reboot", ...time };
  const outcome = outcomeOf(exit);
  const more = outcome.kind === "killed" ? { outOfMemory: ranOutOfMemory(record.cgroup) } : {};
  return { ...outcome, ...more, ...time };
}

/** What has failed, or why it boots again. */
function afterUnseen(record: MachineRecord, paths: Paths): [Failure | null, string | null] {
  const end = endOf(record, paths);
  if (end.kind === "reboot") return [null, "it rebooted"];
  const { restart } = (record.policy as MachinePolicy | undefined) ?? DEFAULT_POLICY;
  // To the next daemon the boot that ended is the only one.
  const next = afterEnd(end, restart, { times: [0], row: 0 }, 0);
  if (next.kind === "restart") return [null, next.why];
  if (next.kind === "stopped") return [null, null];
  const console = consoleTail(join(recordsDirectory(paths), record.name));
  return [asFailure(new BerthError(next.reason), console, end.time), null];
}

/** Of a machine of a daemon, in this boot of the host. */
function savedRecord(name: string, paths: Paths): MachineRecord | null {
  const saved = readSavedRecord(name, paths);
  return saved.state !== "unknown" && saved.managed && saved.bootId === bootId() ? saved : null;
}

function isToBoot(next: string | null): boolean {
  return next === "reboot" || next === "restart";
}
