import { parseOsRelease } from "../host/os-release.ts";
import type { Paths } from "../host/paths.ts";
import { captureIn } from "./join.ts";
import type { MachineRecord } from "./record.ts";

/** What can be learned of a running machine by asking inside. */
export interface Inspection {
  /** PRETTY_NAME of its os-release. */
  readonly os: string | null;
  /** Of systemd: running, degraded, starting, ...; null for another init. */
  readonly initState: string | null;
  readonly boot: BootTimes;
}

/** How long each part of a start took, in ms. Null: not known, or not over yet. */
export interface BootTimes {
  /** From the call to the execution of init. */
  readonly launch: number;
  /** From there until init has read its units (systemd), and from there until it is ready. */
  readonly init: number | null;
  readonly ready: number | null;
}

export async function inspect(machine: MachineRecord, paths: Paths): Promise<Inspection> {
  const osRelease = await captureIn(machine, ["cat", "/etc/os-release"], paths);
  const show = await captureIn(
    machine,
    ["systemctl", "show", "--property=SystemState,UnitsLoadFinishTimestampMonotonic,FinishTimestampMonotonic"],
    paths,
  );
  const fields = new Map((show ?? "").split("\n").map((line) => splitOnce(line, "=")));
  return {
    os: osRelease === undefined ? null : (parseOsRelease(osRelease)["PRETTY_NAME"] ?? null),
    initState: fields.get("SystemState") ?? null,
    boot: bootTimes(machine, fields),
  };
}

/** systemd's timestamps are CLOCK_MONOTONIC in us, the clock that berth noted the execution by. */
function bootTimes({ times }: MachineRecord, fields: ReadonlyMap<string, string>): BootTimes {
  const launch = times.executed - times.began;
  const loaded = Number(fields.get("UnitsLoadFinishTimestampMonotonic") ?? 0) / 1000;
  const finished = Number(fields.get("FinishTimestampMonotonic") ?? 0) / 1000;
  if (loaded > 0)
    return {
      launch,
      init: loaded - times.executedMonotonic,
      ready: finished > 0 ? finished - loaded : null,
    };
  return { launch, init: null, ready: times.ready === null ? null : times.ready - times.executed };
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
