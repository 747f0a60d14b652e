import { writeSync } from "node:fs";
import { isatty } from "node:tty";
import { type Logger, pino } from "pino";
import { LOG_LEVELS, type LogControl, type LogLevel, type LogTarget } from "../dbus/log-levels.ts";
import { visible } from "../spec/quote.ts";
import { currentOperation } from "./operation.ts";

export type { Logger } from "pino";

interface Line {
  readonly level: number;
  readonly time: number;
  readonly msg: string;
  readonly machine?: string;
  readonly operation?: string;
}

/** pino's levels as the journal has them, sd-daemon(3): the prefix of a line on stderr. */
const PRIORITIES: ReadonlyMap<number, number> = new Map([
  [10, 7],
  [20, 7],
  [30, 6],
  [40, 4],
  [50, 3],
  [60, 2],
]);
const WORDS: ReadonlyMap<number, string> = new Map([
  [10, "trace"],
  [20, "debug"],
  [30, "info"],
  [40, "warning"],
  [50, "error"],
  [60, "fatal"],
]);

export interface DaemonLog {
  readonly log: Logger;
  readonly control: LogControl;
}

type Format = (line: string) => string;

/**
 * The daemon's log, on stderr: on a terminal for people, under systemd with the journal's priorities, else one JSON
 * object a line with level, time, machine, operation and what is known besides.
 */
export function openLog(env: NodeJS.ProcessEnv): DaemonLog {
  const isJournal = env["JOURNAL_STREAM"] !== undefined;
  const formats: Readonly<Record<LogTarget, Format>> = {
    auto: isatty(2) ? forPeople : isJournal ? forJournal : asJson,
    console: forPeople,
    journal: forJournal,
    null: () => "",
  };
  const asked = env["BERTH_LOG_LEVEL"] ?? "info";
  const known = [...WORDS.keys()].some((number) => pino.levels.labels[number] === asked);
  const write = (line: string): void => {
    try {
      writeSync(2, formats[control.target](line));
    } catch {
      // A disk that is full, a pipe that nobody reads: machines are more important.
    }
  };
  const mixin = (): object => {
    const operation = currentOperation();
    return operation === undefined ? {} : { operation };
  };
  const log = pino({ base: null, level: known ? asked : "info", mixin }, { write });
  let level: LogLevel = LOG_LEVELS[PRIORITIES.get(log.levelVal) ?? 6] ?? "info";
  const control: LogControl = {
    // As it was set: pino has no word for each.
    get level() {
      return level;
    },
    set level(next) {
      level = next;
      log.level = pinoLevel(next);
    },
    target: "auto",
    targets: isJournal ? ["auto", "console", "journal", "null"] : ["auto", "console", "null"],
  };
  return { log, control };
}

/** From which on it logs what is as severe or more. */
export function pinoLevel(level: LogLevel): string {
  const least = [...PRIORITIES].find(([, priority]) => priority <= LOG_LEVELS.indexOf(level));
  return least === undefined ? "silent" : (pino.levels.labels[least[0]] ?? "silent");
}

function asJson(line: string): string {
  return line;
}

export function forJournal(line: string): string {
  const entry = JSON.parse(line) as Line;
  return `<${PRIORITIES.get(entry.level) ?? 6}>${textOf(entry)}\n`;
}

export function forPeople(line: string): string {
  const entry = JSON.parse(line) as Line;
  const time = new Date(entry.time).toISOString().slice(11, 23);
  return `${time} ${(WORDS.get(entry.level) ?? "").padEnd(7)} ${textOf(entry)}\n`;
}

/** What a machine is called or says must not do anything to a terminal. */
function textOf({ machine, operation, msg }: Line): string {
  const subject = machine === undefined ? "" : `${machine}: `;
  return visible(`${subject}${msg}${operation === undefined ? "" : ` [${operation}]`}`);
}
