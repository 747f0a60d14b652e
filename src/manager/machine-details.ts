import { statSync } from "node:fs";
import { Assigned } from "../config/assigned.ts";
import { errorCode } from "../errors.ts";
import { INSTALLATION } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { readSettings, type SettingsFile } from "../host/settings-files.ts";
import { showAddressesOf } from "../machine/addresses.ts";
import { lastEndedBoot } from "../machine/ended-boot.ts";
import type { Outcome } from "../machine/exit-status.ts";
import { lookUp, type MachineRecord } from "../machine/record.ts";
import { type Limits, NO_LIMITS, readLimits, readUsage, type Usage } from "../machine/resources.ts";
import { treeName } from "../machine/throw-away.ts";
import { signalName } from "../spec/signals.ts";
import { showSource } from "../spec/source.ts";
import { isEnabled } from "./enabled.ts";
import { type MachineView, type Reader, viewFor } from "./machine-view.ts";
import type { Failure } from "./state-file.ts";

export type { Reader } from "./machine-view.ts";

/** A machine as `show --json` has it. Null: it does not run, or nothing is known of that. */
export interface MachineDetails extends MachineView {
  /** container_uuid, 32 hex digits; of a machine that does not run that of its last boot. */
  readonly id: string | null;
  readonly rootDirectory: string | null;
  /** Those that hold, of its settings files. */
  readonly settings: readonly ShownSetting[];
  readonly limits: Limits;
  readonly usage: Usage;
  /** The host's id of its root; null: the machine has the host's ids. */
  readonly uidShift: number | null;
  readonly cgroup: string | null;
  /** How its last boot ended, of one that does not run. */
  readonly exit: ShownExit | null;
  readonly failure: Failure | null;
  /** It is started with the host. */
  readonly enabled: boolean;
}

export interface ShownSetting {
  readonly section: string;
  readonly key: string;
  readonly value: string;
  /** `file:line` */
  readonly source: string;
}

export interface ShownExit {
  readonly reason: Outcome["kind"];
  /** Of one that exited. */
  readonly status: number | null;
  /** `SIGKILL`, of one that was killed. */
  readonly signal: string | null;
}

const NO_USAGE: Usage = { memory: null, cpuUsec: null, tasks: null };

export function detailsOf(view: MachineView, failure: Failure | null, reader: Reader, paths: Paths): MachineDetails {
  const { name, ...seen } = viewFor(view, reader);
  const found = lookUp(name, paths);
  const record: MachineRecord | null = found === null || found.state === "unknown" ? null : found;
  const last = found === null ? lastEndedBoot(name, paths) : null;
  return {
    name,
    ...seen,
    addresses: seen.leader === null ? [] : showAddressesOf(seen.leader),
    id: record?.machineId ?? last?.record?.machineId ?? null,
    rootDirectory: seen.image,
    settings: settingsOf(treeName(name, paths), reader, paths),
    limits: record === null ? NO_LIMITS : readLimits(record.cgroup),
    usage: record === null ? NO_USAGE : readUsage(record.cgroup),
    uidShift: record?.uidShift ?? null,
    cgroup: record?.cgroup ?? null,
    exit: last?.outcome ? shownExit(last.outcome) : null,
    failure: reader === "root" ? failure : null,
    enabled: isEnabled(name, paths),
  };
}

export function shownExit(outcome: Outcome): ShownExit {
  return {
    reason: outcome.kind,
    status: outcome.kind === "exited" ? outcome.status : null,
    signal: outcome.kind === "killed" ? signalName(outcome.signal) : null,
  };
}

function settingsOf(name: string, reader: Reader, paths: Paths): readonly ShownSetting[] {
  const files = readSettings(name, paths, INSTALLATION).files.filter((file) => reader === "root" || isForAll(file));
  const assignments = files.flatMap((file) => file.assignments);
  return new Assigned(assignments, () => undefined)
    .effective()
    .map(({ section, key, value, source }) => ({ section, key, value, source: showSource(source) }));
}

function isForAll({ path }: SettingsFile): boolean {
  try {
    return (statSync(path).mode & 0o004) !== 0;
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return false;
  }
}
