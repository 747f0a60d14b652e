import { tableDefault } from "../config/assigned.ts";
import { MACHINE } from "../config/settings-machine.ts";
import { isObject } from "../spec/is-object.ts";
import { type MachineSpec, RESTART_MODES, type RestartMode } from "../spec/machine-spec.ts";

/** When a machine that has ended is booted again, as systemd.service(5) has it: Restart=, RestartSec=, StartLimit*=. */
export interface RestartPolicy {
  readonly when: RestartMode;
  /** ms, before the first restart. */
  readonly delay: number;
  /** So many starts, the first among them, within `interval` ms (null: ever); then the machine has failed for good. Null: no end of them. */
  readonly limit: { readonly starts: number; readonly interval: number | null } | null;
}

/** What [Machine] of its settings says of a machine. Times are in ms; null: no limit. It is written down as JSON. */
export interface MachinePolicy {
  readonly restart: RestartPolicy;
  readonly startTimeout: number | null;
  readonly stopTimeout: number | null;
}

export function policyOf(spec: MachineSpec): MachinePolicy {
  const { restart, restartDelay, startTimeout, stopTimeout } = spec;
  return {
    restart: {
      when: restart.value,
      delay: restartDelay.value,
      limit: startLimit(spec.startBurst.value, spec.startInterval.value),
    },
    startTimeout: startTimeout.value,
    stopTimeout: stopTimeout.value,
  };
}

/** As in systemd either of them can be 0 for no limit. */
function startLimit(starts: number, interval: number | null): RestartPolicy["limit"] {
  return starts === 0 || interval === 0 ? null : { starts, interval };
}

/** Of a machine whose settings say nothing. */
export const DEFAULT_POLICY: MachinePolicy = {
  restart: {
    when: tableDefault(MACHINE.Restart),
    delay: tableDefault(MACHINE.RestartSec),
    limit: startLimit(tableDefault(MACHINE.StartLimitBurst), tableDefault(MACHINE.StartLimitIntervalSec)),
  },
  startTimeout: tableDefault(MACHINE.TimeoutStartSec),
  stopTimeout: tableDefault(MACHINE.TimeoutStopSec),
};

/** What a record says of it; undefined: nothing, or nothing that makes sense. */
export function asPolicy(value: unknown): MachinePolicy | undefined {
  if (!isObject(value) || !isObject(value["restart"])) return undefined;
  const { restart, startTimeout, stopTimeout } = value;
  const { when, delay, limit } = restart;
  const sound =
    RESTART_MODES.some((mode) => mode === when) &&
    isTime(delay) &&
    [startTimeout, stopTimeout].every(isTimeOrNone) &&
    (limit === null || (isObject(limit) && Number.isInteger(limit["starts"]) && isTimeOrNone(limit["interval"])));
  return sound ? (value as unknown as MachinePolicy) : undefined;
}

function isTime(value: unknown): boolean {
  return typeof value === "number" && value >= 0;
}

function isTimeOrNone(value: unknown): boolean {
  return value === null || isTime(value);
}
