import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import { LaunchError } from "../exec/launch-error.ts";
import { bootId } from "../host/boot-id.ts";
import type { Paths } from "../host/paths.ts";
import { writeText } from "../host/write-text.ts";
import { describe } from "../plan/describe.ts";
import { isObject } from "../spec/is-object.ts";
import { checkName } from "../spec/name.ts";

/** What the manager knows of a machine beyond one boot of it: a JSON file a machine, for the daemon's next life. */
export interface SavedState {
  readonly version: typeof STATE_VERSION;
  readonly name: string;
  /**
   * reboot, restart: nothing of it runs, or it has just ended, and it is about to boot again. stop: it was told to end, and is to stay so.
   */
  readonly next: (typeof NEXT)[number];
  /** Times it was booted again without being asked to. */
  readonly restarts: number;
  /** Why it does not run; null: it runs, or was stopped. */
  readonly failure: Failure | null;
  /** The id of the host's boot: that of another is history. */
  readonly bootId: string;
}

export interface Failure {
  /** One sentence. */
  readonly reason: string;
  readonly hint: string | null;
  /** Its last lines on the console. */
  readonly console: readonly string[];
  /** ms since the epoch; null: nobody knows, as its keeper was killed. */
  readonly time: number | null;
  /** Of a start that failed: at which step of its plan. */
  readonly step?: FailedStep;
}

export interface FailedStep {
  readonly index: number;
  readonly phase: string;
  readonly describe: string;
}

const STATE_VERSION = 1;
/** ms that a Date can be from the epoch (ECMA-262, "Time Values"). */
const DATE_MAX = 8.64e15;
const NEXT = ["reboot", "restart", "stop", null] as const;

/** `time`: as a Failure has it. */
export function asFailure(error: unknown, console: readonly string[], time: number | null = Date.now()): Failure {
  const hint = error instanceof BerthError ? (error.hint ?? null) : null;
  const reason = error instanceof Error ? error.message : String(error);
  return { reason, hint, console, time, ...failedStep(error) };
}

function failedStep(error: unknown): Pick<Failure, "step"> {
  const failed = [error, error instanceof Error ? error.cause : undefined].find((each) => each instanceof LaunchError);
  if (failed?.step === undefined) return {};
  return { step: { index: failed.index, phase: failed.step.phase, describe: describe(failed.step) } };
}

/** A state file that can't be used, and what became of it. */
export interface Damage {
  readonly file: string;
  readonly fault: string;
  /** Its new name; null: it is left alone, being of a newer version. */
  readonly setAside: string | null;
}

export class StateFiles {
  readonly #directory: string;

  constructor(paths: Paths) {
    this.#directory = join(paths.run, "state");
  }

  /**
   * Written to a temporary name and renamed: there is the old or the new one. Not synced: it is of no use after the host's
   * next boot, and a disk that is slow would keep the daemon from everything else.
   */
  write(state: Omit<SavedState, "version">): void {
    const path = this.#path(state.name);
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeText(`${path}.new`, JSON.stringify({ version: STATE_VERSION, ...state }));
    renameSync(`${path}.new`, path);
  }

  /** A file system that can't be written to keeps it: that must not take a machine from its supervision. */
  remove(name: string): void {
    try {
      const path = this.#path(name);
      if (existsSync(path)) rmSync(path, { force: true }); // mostly there is none
    } catch {
      // see above
    }
  }

  /** Undefined: there is none that can be read, or it is of another boot of the host. */
  read(name: string): SavedState | undefined {
    const state = readState(this.#path(name), name);
    return typeof state === "string" || state.bootId !== bootId() ? undefined : state;
  }

  /** All that can be read; what can't is set aside, and told. */
  readAll(onDamage: (damage: Damage) => void): readonly SavedState[] {
    return this.names().flatMap((name) => {
      const file = this.#path(name);
      const state = readState(file, name);
      if (typeof state !== "string") return [state];
      // What a newer berth wrote is its own: ours to understand it never was.
      const newer = state.startsWith("is of version");
      const setAside = newer ? null : `${file}.corrupt-${Date.now()}`;
      if (setAside !== null) renameSync(file, setAside);
      onDamage({ file, fault: state, setAside });
      return [];
    });
  }

  names(): readonly string[] {
    try {
      return readdirSync(this.#directory)
        .filter((file) => file.endsWith(".json"))
        .map((file) => file.slice(0, -".json".length))
        .filter((name) => checkName(name) === undefined);
    } catch (error) {
      if (errorCode(error) === "ENOENT") return [];
      throw error;
    }
  }

  #path(name: string): string {
    return `${this.#directory}/${name}.json`;
  }
}

/** The state, or what is wrong with the file. */
function readState(file: string, name: string): SavedState | string {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return "is damaged: it is cut, or no JSON";
  }
  if (!isObject(value)) return "is damaged: it holds no state";
  const { version, failure } = value;
  if (typeof version === "number" && version !== STATE_VERSION)
    return `is of version ${version}, and this berth reads version ${STATE_VERSION}`;
  const sound =
    version === STATE_VERSION &&
    value["name"] === name &&
    NEXT.some((next) => next === value["next"]) &&
    Number.isInteger(value["restarts"]) &&
    typeof value["bootId"] === "string" &&
    (failure === null || isFailure(failure));
  return sound ? (value as unknown as SavedState) : "is damaged: something in it is wrong or missing";
}

function isFailure(value: unknown): value is Failure {
  if (!isObject(value)) return false;
  const { reason, hint, console, time, step } = value;
  return (
    (step === undefined || isFailedStep(step)) &&
    typeof reason === "string" &&
    (hint === null || typeof hint === "string") &&
    Array.isArray(console) &&
    console.every((line) => typeof line === "string") &&
    (time === null || (typeof time === "number" && Math.abs(time) <= DATE_MAX))
  );
}

function isFailedStep(value: unknown): value is FailedStep {
  if (!isObject(value)) return false;
  const { index, phase, describe: text } = value;
  return Number.isInteger(index) && typeof phase === "string" && typeof text === "string";
}
