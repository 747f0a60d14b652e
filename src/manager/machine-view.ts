import type { MachineRecord, UnknownMachine } from "../machine/record.ts";
import type { Pending } from "./restarts.ts";
import type { Failure } from "./state-file.ts";

/** As `list` shows it; a machine between two boots is starting. */
export type ShownState = "starting" | "running" | "stopping" | "paused" | "failed" | "stopped" | "unknown";

/** A machine as `list --json` has it. Null: it does not run, or nothing is known of that. */
export interface MachineView {
  readonly name: string;
  readonly class: "container";
  readonly service: "berth";
  readonly state: ShownState;
  readonly os: string | null;
  readonly version: string | null;
  readonly init: string | null;
  readonly addresses: readonly string[];
  /** Null between two boots, too. */
  readonly leader: number | null;
  readonly unit: string | null;
  /** ISO 8601. */
  readonly since: string | null;
  /** The tree. */
  readonly image: string | null;
  readonly ready: boolean;
  /** Last STATUS= of its init. */
  readonly status: string | null;
  readonly times: MachineRecord["times"] | null;
  readonly weaknesses: readonly string[];
  /** Times it was booted again without being asked to. */
  readonly restarts: number;
  /** When that is done next, ISO 8601; null: it does not wait for that. */
  readonly startsAgain: string | null;
  /** Managed by the daemon; false: a `berth run` has it in the foreground. */
  readonly managed: boolean;
  /** Why it has failed or is to be started again, or nothing more can be told of it. */
  readonly reason: string | null;
}

const NOTHING: Omit<MachineView, "name" | "state"> = {
  ...({ class: "container", service: "berth" } as const),
  ...{ os: null, version: null, init: null, addresses: [], leader: null },
  ...{ unit: null, since: null, image: null, ready: false, status: null, times: null, weaknesses: [], restarts: 0 },
  ...{ startsAgain: null, managed: false, reason: null },
};

/** Who asks: what files, settings and machines say is not for all. */
export type Reader = "root" | "all";

/** What everybody may see is which machines there are and in which state: neither what they say nor where they are. */
export function viewFor(view: MachineView, reader: Reader): MachineView {
  return reader === "root" ? view : { ...view, status: null, reason: null, image: null, weaknesses: [] };
}

export function viewOfRecord(record: MachineRecord, paused: boolean, restarts = 0): MachineView {
  const rebooting = record.state === "rebooting";
  return {
    ...NOTHING,
    name: record.name,
    state: paused ? "paused" : rebooting ? "starting" : record.state,
    os: record.os,
    version: record.osVersion,
    init: record.init,
    leader: rebooting ? null : record.leader.pid,
    unit: record.unit,
    since: new Date(record.times.began).toISOString(),
    image: record.root,
    ready: record.ready,
    status: record.status,
    times: record.times,
    weaknesses: record.weaknesses,
    restarts,
    managed: record.managed,
  };
}

export function viewOfUnknown({ name, file, fault }: UnknownMachine): MachineView {
  return { ...NOTHING, name, state: "unknown", reason: `${file} ${fault}` };
}

export function viewOfStopped(name: string, image: string, failure: Failure | null, restarts = 0): MachineView {
  const state = failure === null ? "stopped" : "failed";
  return { ...NOTHING, name, state, image, reason: failure?.reason ?? null, restarts };
}

/** Of one between two boots. */
export function viewOfWaiting(stopped: MachineView, stopping: boolean, pending: Pending | null): MachineView {
  const between = { ...stopped, state: stopping ? "stopping" : "starting", managed: true } as const;
  if (pending === null) return between;
  const startsAgain = new Date(pending.at).toISOString();
  // The one that is to come is counted already.
  const restarts = Math.max(0, stopped.restarts - 1);
  return { ...between, restarts, startsAgain, status: "waits to be started again", reason: pending.why };
}
