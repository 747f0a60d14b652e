import type { ProcessId } from "../host/process-id.ts";
import { type InitName, type InitRequest, isInitName } from "../plan/init-requests.ts";
import { isObject } from "../spec/is-object.ts";
import { printable } from "../spec/quote.ts";

/** Goes up when a record, or the plan beside it, changes so that an older or newer berth would misread it. */
export const RECORD_VERSION = 1;
export const STATES = ["starting", "running", "stopping", "rebooting"] as const;
/** Rebooting: between two boots. Nothing of the machine runs then but its supervisor. */
export type MachineState = (typeof STATES)[number];

/** What is written down of a running machine, for other commands to find it. One JSON file in its record directory. */
export interface MachineRecord {
  readonly version: typeof RECORD_VERSION;
  readonly name: string;
  readonly state: MachineState;
  readonly ready: boolean;
  /** Last STATUS= of its init. */
  readonly status: string | null;
  readonly bootId: string;
  readonly leader: ProcessId;
  readonly keeper: ProcessId;
  /** The process that runs it in the foreground, or the daemon that manages it. */
  readonly supervisor: ProcessId;
  /** By a daemon: it goes on without, and the next one takes it over. */
  readonly managed: boolean;
  readonly cgroup: string;
  readonly cgroupMount: string;
  readonly unit: string | null;
  readonly root: string;
  /** Directory of an ephemeral machine's changes. */
  readonly layer: string | null;
  readonly os: string | null;
  readonly osVersion: string | null;
  /** What its PID 1 is; null: a command. */
  readonly init: InitName | null;
  /** How its PID 1 is asked to end the machine. */
  readonly requests: { readonly poweroff: InitRequest; readonly reboot: InitRequest };
  /** That of `requests.poweroff`; null: it is no signal. */
  readonly killSignal: number | null;
  readonly uidShift: number | null;
  /** container_uuid: 32 hex digits. */
  readonly machineId: string;
  readonly weaknesses: readonly string[];
  /** What [Machine] of its settings said when it was launched, or was applied since. Its form is the manager's. */
  readonly policy?: object;
  /** ms since the epoch. */
  readonly times: {
    readonly began: number;
    readonly executed: number;
    /** `executed` on CLOCK_MONOTONIC, in ms: what the machine's own timestamps can be compared with. */
    readonly executedMonotonic: number;
    readonly ready: number | null;
  };
}

type Check = (value: unknown) => boolean;
type Shape<T> = { readonly [K in keyof T]-?: Check };

const isText: Check = (value) => typeof value === "string";
const isFlag: Check = (value) => typeof value === "boolean";
const isNumber: Check = Number.isFinite;
const isPath: Check = (value) => typeof value === "string" && value.startsWith("/");
const isTexts: Check = (value) => Array.isArray(value) && value.every(isText);
const orNull = (check: Check): Check => {
  return (value) => value === null || check(value);
};
const matches = (shape: Readonly<Record<string, Check>>): Check => {
  return (value) => isObject(value) && misfits(value, shape).length === 0;
};

const isRequest: Check = (value) => isObject(value) && (Number.isInteger(value["signal"]) || isTexts(value["command"]));

/** Pid 0 and the negative ones mean other things to the kernel than a process. */
const isProcess = matches({ pid: (pid) => Number.isInteger(pid) && Number(pid) > 0, startTime: isText });

const TIMES: Shape<MachineRecord["times"]> = {
  began: isNumber,
  executed: isNumber,
  executedMonotonic: isNumber,
  ready: orNull(isNumber),
};

const RECORD: Shape<MachineRecord> = {
  version: (version) => version === RECORD_VERSION,
  name: isText,
  state: (state) => STATES.some((known) => known === state),
  ready: isFlag,
  status: orNull(isText),
  bootId: isText,
  leader: isProcess,
  keeper: isProcess,
  supervisor: isProcess,
  managed: isFlag,
  cgroup: isPath,
  cgroupMount: isText,
  unit: orNull(isText),
  root: isPath,
  layer: orNull(isPath),
  os: orNull(isText),
  osVersion: orNull(isText),
  init: orNull(isInitName),
  requests: matches({ poweroff: isRequest, reboot: isRequest }),
  killSignal: orNull(Number.isInteger),
  uidShift: orNull(Number.isInteger),
  machineId: (id) => typeof id === "string" && /^[0-9a-f]{32}$/.test(id),
  weaknesses: isTexts,
  policy: (policy) => policy === undefined || isObject(policy),
  times: matches(TIMES),
};

const OTHER_VERSION = "is of version ";

/** Whether that is what is wrong: it is some other berth's, then, and left alone. */
export function isOfOtherVersion(fault: string): boolean {
  return fault.startsWith(OTHER_VERSION);
}

/** What is wrong with the record of machine `name`, for after the name of its file; undefined: nothing. */
export function recordFault(value: unknown, name: string): string | undefined {
  if (!isObject(value)) return "is damaged: it holds no record";
  const { version } = value as { version?: unknown };
  if (version !== undefined && version !== RECORD_VERSION)
    return `${OTHER_VERSION}${printable(JSON.stringify(version))}, and this berth reads version ${RECORD_VERSION}`;
  const wrong = misfits(value, RECORD);
  if (wrong.length > 0) return `is damaged: wrong or missing in it: ${wrong.join(", ")}`;
  return value["name"] === name ? undefined : "is damaged: it is another machine's";
}

const isStep = matches({ phase: isText, kind: isText, args: isObject, source: isObject });

/** The same of a plan; what each kind of step has in it is left to who uses it. */
export function planFault(value: unknown): string | undefined {
  const isPlan = matches({ machine: isText, steps: (steps) => Array.isArray(steps) && steps.every(isStep) });
  return isPlan(value) ? undefined : "is damaged: it holds no plan";
}

function misfits(value: Readonly<Record<string, unknown>>, shape: Readonly<Record<string, Check>>): readonly string[] {
  return Object.entries(shape).flatMap(([key, check]) => (check(value[key]) ? [] : [key]));
}
