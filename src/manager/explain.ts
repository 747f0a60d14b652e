import { readFileSync } from "node:fs";
import { timeout } from "../config/values-time.ts";
import { BerthError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { type EndedBoot, lastEndedBoot } from "../machine/ended-boot.ts";
import { consoleTail } from "../supervise/console-log.ts";
import { Launcher } from "./launcher.ts";
import type { MachineDetails } from "./machine-details.ts";
import type { ShownState } from "./machine-view.ts";
import { failureOf, NOT_READY } from "./restart.ts";
import { inSeconds } from "./timers.ts";

/** Why a machine does not run, for people and for programs. */
export interface Explanation {
  readonly name: string;
  readonly state: ShownState;
  readonly sentences: readonly string[];
  /** Of settings files, that are to blame. */
  readonly lines: readonly SettingsLine[];
  readonly hint: string | null;
  /** Its last lines on the console. */
  readonly console: readonly string[];
  readonly exit: MachineDetails["exit"];
  readonly restarts: number;
}

interface SettingsLine {
  readonly file: string;
  readonly line: number;
  readonly text: string;
}

const TAIL_LINES = 10;

export async function explain(details: MachineDetails, paths: Paths): Promise<Explanation> {
  const { name, state, failure, exit, restarts } = details;
  const last = isRoot() ? lastEndedBoot(name, paths) : null;
  const runs = !["stopped", "failed"].includes(state);
  // What a start says now is of interest where it has not just said it.
  const obstacle = runs || !isRoot() ? undefined : await obstacleNow(name, paths);
  const isNews = obstacle !== undefined && obstacle.message !== failure?.reason;
  const sentences = [
    ...(runs ? running(details) : notRunning(details, last)),
    ...(last === null ? [] : lastBoot(last, runs, wasKilledLate(details, last))),
    ...(runs || last !== null || failure !== null ? [] : [`${name} has not run since the host's boot.`]),
    ...(isNews ? [`It could not be started now: ${obstacle.message}`] : []),
  ];
  return {
    ...{ name, state, sentences },
    lines: [...blamedLines([failure?.reason ?? "", obstacle?.message ?? ""].join("\n")), ...lateLines(details)],
    hint: failure?.hint ?? obstacle?.hint ?? hintOf(name, failure),
    console:
      runs && details.startsAgain === null
        ? []
        : (failure?.console.length ?? 0) > 0
          ? (failure?.console ?? [])
          : tailOf(last),
    ...{ exit, restarts },
  };
}

function hintOf(name: string, failure: MachineDetails["failure"]): string | null {
  if (failure?.reason.startsWith(NOT_READY))
    return "TimeoutStartSec= of its settings, or --timeout= of berth start, gives it longer";
  // Of a start that failed at a step there is something to look at.
  return failure?.step === undefined
    ? null
    : `berth replay ${name} opens a shell in it, as far as it was built by then`;
}

/** Its last boot took longer to be ready than its settings, or who started it, allowed. */
function wasKilledLate({ failure, reason }: MachineDetails, { outcome, ended }: EndedBoot): boolean {
  const isSince = failure !== null && (ended ?? 0) > (failure.time ?? 0);
  return outcome?.kind === "killed" && !isSince && (failure?.reason ?? reason ?? "").startsWith(NOT_READY);
}

function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

function running(details: MachineDetails): readonly string[] {
  const { name, state, since, ready, status, restarts, reason, startsAgain } = details;
  if (state === "unknown") return [`${name} runs, but ${reason}.`];
  if (startsAgain !== null)
    return [
      `${name} is started again ${inSeconds(Date.parse(startsAgain))}: ${reason}.`,
      ...(restarts === 0 ? [] : [`It was started again ${times(restarts)} before.`]),
    ];
  if (state === "starting" && reason !== null) return [`${name} is starting since ${since}: ${reason}.`];
  const waits = status === null ? "" : `, which says: ${status}`;
  const paused = state === "paused" ? `paused: berth resume ${name} lets it go on. It runs` : state;
  return [
    `${name} is ${paused}${since === null ? "" : ` since ${since}`}${ready ? "" : `, and not ready yet: that is for its init to say${waits}`}.`,
    ...(restarts === 0 ? [] : [`It was started again ${times(restarts)} without being asked to.`]),
  ];
}

function notRunning({ name, failure, reason, restarts }: MachineDetails, last: EndedBoot | null): readonly string[] {
  if (failure === null && reason !== null) return [`${name} does not run: ${reason} (berth daemon start).`];
  if (failure === null && last?.boot === 0)
    return [
      `${name} does not run, and nobody has seen to its end yet: berthd does when it starts (berth daemon start).`,
    ];
  if (failure === null) return [`${name} does not run, and nothing went wrong that berth knows of.`];
  return [
    `${name} has failed${failure.time === null ? "" : ` at ${new Date(failure.time).toISOString()}`}: ${failure.reason}.`,
    ...(restarts === 0 ? [] : [`It was started again ${times(restarts)} before that.`]),
  ];
}

function times(count: number): string {
  return count === 1 ? "once" : `${count} times`;
}

function lastBoot({ record, ended, outcome }: EndedBoot, runs: boolean, late: boolean): readonly string[] {
  const began = record?.times.began ?? null;
  const span =
    began === null || ended === null
      ? ""
      : ` began at ${new Date(began).toISOString()}, ran for ${duration(ended - began)} and`;
  const ready = record !== null && !record.ready ? " It had not been ready by then." : "";
  return [
    `Its ${runs ? "boot before" : "last boot"}${span} ended so: ${howEnded(outcome)}.${ready}`,
    ...(late ? ["berthd killed it for that."] : cause(outcome)),
  ];
}

function howEnded(outcome: EndedBoot["outcome"]): string {
  if (outcome === null) return "nobody knows, as its keeper was killed";
  if (outcome.kind === "poweroff") return "it powered itself off";
  if (outcome.kind === "reboot") return "it rebooted";
  return failureOf(outcome) ?? "its PID 1 exited with status 0";
}

const SIGNALS: Readonly<Record<number, string>> = {
  6: "SIGABRT comes from the program itself, when it finds that something is wrong with it.",
  9: "SIGKILL comes from berth terminate, from a poweroff that took too long, from outside, or from the kernel when memory is short: see dmesg.",
  11: "SIGSEGV is a fault in the program, or in the tree that it is from.",
  31: "SIGSYS comes from a filter of system calls: see SystemCallFilter= in berth.nspawn(5).",
};

function cause(outcome: EndedBoot["outcome"]): readonly string[] {
  const text = outcome?.kind === "killed" ? SIGNALS[outcome.signal] : undefined;
  return text === undefined ? [] : [text];
}

function duration(ms: number): string {
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

/** What keeps it from being started, as far as can be told without doing that. */
async function obstacleNow(name: string, paths: Paths): Promise<BerthError | undefined> {
  try {
    const prepared = new Launcher(paths).prepare(name);
    await prepared.plan({ foreground: false, stdio: "console", term: null });
    return undefined;
  } catch (error) {
    if (error instanceof BerthError) return error;
    throw error;
  }
}

/** `/etc/berth/machines/web.nspawn:3:1: ...`, as problems of settings begin. */
function blamedLines(text: string): readonly SettingsLine[] {
  const places = [...text.matchAll(/^(?:berth: )?(\/.*?\.(?:nspawn|conf)):(\d+):\d+: /gm)];
  const seen = new Set<string>();
  return places.flatMap(([, file = "", line = ""]) => {
    if (seen.has(`${file}:${line}`)) return [];
    seen.add(`${file}:${line}`);
    const found = textLine(file, Number(line));
    return found === undefined ? [] : [{ file, line: Number(line), text: found }];
  });
}

/** Of a failure to be ready in time: the line that says what that is, unless it was who started it. */
function lateLines({ failure, settings }: MachineDetails): readonly SettingsLine[] {
  return settings.flatMap(({ key, value, source }) => {
    const seconds = key === "TimeoutStartSec" ? (timeout(value, () => undefined) ?? 0) / 1000 : 0;
    if (seconds === 0 || !`${failure?.reason};`.startsWith(`${NOT_READY} ${seconds} s;`)) return [];
    const [, file = "", line = ""] = /^(.*):(\d+)$/.exec(source) ?? [];
    const text = file === "" ? undefined : textLine(file, Number(line));
    return text === undefined ? [] : [{ file, line: Number(line), text }];
  });
}

function textLine(file: string, line: number): string | undefined {
  try {
    return readFileSync(file, "utf8").split("\n")[line - 1];
  } catch {
    return undefined; // it has been moved or removed since
  }
}

function tailOf(last: EndedBoot | null): readonly string[] {
  const clean = last?.outcome?.kind === "poweroff";
  return last === null || clean ? [] : consoleTail(last.directory, TAIL_LINES);
}
