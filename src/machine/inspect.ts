import { BerthError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import type { InitName } from "../plan/init-requests.ts";
import { captureIn } from "./capture.ts";
import { osReleaseOf } from "./machine-tree.ts";
import type { MachineRecord } from "./record.ts";

/** What can be learned of a running machine besides its record: of its tree, and by asking inside. */
export interface Inspection {
  /** PRETTY_NAME of its os-release, or the ID in its record. */
  readonly os: string | null;
  /** Of systemd: running, degraded, starting, ...; of others their runlevel, if they have one; null: not known. */
  readonly initState: string | null;
  readonly boot: BootTimes;
  /** Why nothing could be asked inside: it is frozen, it does not answer. */
  readonly problem: string | null;
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
  const { question, state } = QUESTIONS[machine.init ?? "other"] ?? SYSTEMCTL;
  const [answer, problem] = await ask(machine, question, paths);
  const fields = new Map(answer.split("\n").map((line) => splitOnce(line, "=")));
  return {
    os: osReleaseOf(machine, paths)?.["PRETTY_NAME"] ?? machine.os,
    initState: state(answer) ?? null,
    boot: bootTimes(machine, fields),
    problem,
  };
}

/** A program that knows an init's state, and what of its answer that is. */
interface Question {
  readonly question: readonly string[];
  readonly state: (answer: string) => string | undefined;
}

const PROPERTIES = ["SystemState", "UnitsLoadFinishTimestampMonotonic", "FinishTimestampMonotonic"];
const SYSTEMCTL: Question = {
  question: ["systemctl", "show", `--property=${PROPERTIES}`],
  state: (answer) => /^SystemState=(.*)$/m.exec(answer)?.[1],
};
/** runlevel(8) prints the one before and the present one, or "unknown". */
const RUNLEVEL: Question = {
  question: ["runlevel"],
  state: (answer) => runlevel(/^\S \S+$/m.exec(answer)?.[0].slice(2)),
};
const QUESTIONS: Partial<Readonly<Record<InitName, Question>>> = {
  sysvinit: RUNLEVEL,
  runit: RUNLEVEL,
  openrc: { question: ["rc-status", "--runlevel"], state: (answer) => runlevel(/^\S+$/m.exec(answer)?.[0]) },
};

function runlevel(name: string | undefined): string | undefined {
  return name && `runlevel ${name}`;
}

/** What the program says, and why it says nothing. Where it is not there, that is no problem. */
async function ask(
  machine: MachineRecord,
  question: readonly string[],
  paths: Paths,
): Promise<[string, string | null]> {
  try {
    return [(await captureIn(machine, question, paths)) ?? "", null];
  } catch (error) {
    if (error instanceof BerthError) return ["", error.message];
    throw error;
  }
}

/** systemd's timestamps are CLOCK_MONOTONIC in us, the clock that berth noted the execution by. */
function bootTimes({ times }: MachineRecord, fields: ReadonlyMap<string, string>): BootTimes {
  const launch = times.executed - times.began;
  const loaded = milliseconds(fields.get("UnitsLoadFinishTimestampMonotonic"));
  const finished = milliseconds(fields.get("FinishTimestampMonotonic"));
  if (loaded > 0)
    return {
      launch,
      init: loaded - times.executedMonotonic,
      ready: finished > 0 ? finished - loaded : null,
    };
  return { launch, init: null, ready: times.ready === null ? null : times.ready - times.executed };
}

/** 0: not yet, or nonsense. */
function milliseconds(microseconds = ""): number {
  return /^\d{1,16}$/.test(microseconds) ? Number(microseconds) / 1000 : 0;
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
