import type { RlimitName } from "../plan/facts.ts";
import type { ResourceLimit } from "../spec/machine-spec.ts";
import { quote } from "../spec/quote.ts";
import type { Parse } from "./setting.ts";

/** How the values of one kind of limit are written (systemd.exec(5), "Process Properties", and systemd.time(7)). */
export interface LimitUnit {
  /** Whole, not negative; undefined: it is no such value. */
  readonly read: (text: string) => number | undefined;
  readonly expected: string;
  /** For the setting's help. */
  readonly help: string;
}

export const COUNT: LimitUnit = { read: readCount, expected: "a number", help: "a number" };
export const SIZE: LimitUnit = {
  read: readSize,
  expected: "bytes, or a size such as 512M or 1.5G",
  help: "in bytes, or with K, M, G, T, P or E",
};
export const SECONDS: LimitUnit = {
  read: (text) => readTime(text, 1_000_000, 1_000_000),
  expected: "seconds, or a time such as 5min",
  help: "in seconds, or with ms, s, min, h or d",
};
export const MICROSECONDS: LimitUnit = {
  read: (text) => readTime(text, 1, 1),
  expected: "microseconds, or a time such as 200ms",
  help: "in microseconds, or with ms, s, min, h or d",
};
export const NICE: LimitUnit = {
  read: readNice,
  expected: "a nice level from -20 to +19 with its sign, or 0 to 40 as setrlimit(2) has it",
  help: "a nice level with its sign, or 20 less the level",
};

/** VALUE or SOFT:HARD, each `infinity` or in the limit's unit. A single one is both. */
export function resourceLimit(name: RlimitName, { read, expected }: LimitUnit): Parse<ResourceLimit> {
  return (value, report) => {
    const parts = value.split(":", 3);
    let offset = 0;
    const bounds = parts.map((text) => {
      const bound = text === "infinity" ? null : read(text);
      if (bound === undefined || parts.length > 2)
        report({ what: `${quote(text)} is no value of this limit`, expected: `${expected}, or infinity`, offset });
      offset += text.length + 1;
      return bound;
    });
    const [soft, hard = soft] = bounds;
    if (soft === undefined || hard === undefined || bounds.includes(undefined) || parts.length > 2) return undefined;
    if (hard === null || (soft !== null && soft <= hard)) return { name, soft, hard };
    report({
      what: `the soft limit ${quote(parts[0] ?? "")} is above the hard limit ${quote(parts[1] ?? "")}`,
      expected: "SOFT:HARD",
    });
    return undefined;
  };
}

function readCount(text: string): number | undefined {
  return /^[0-9]{1,16}$/.test(text) ? whole(Number(text)) : undefined;
}

function readNice(text: string): number | undefined {
  if (!/^[+-]?[0-9]{1,2}$/.test(text)) return undefined;
  const number = Number(text);
  const raw = /^[+-]/.test(text) ? 20 - number : number;
  return raw >= (text.startsWith("+") ? 1 : 0) && raw <= 40 ? raw : undefined;
}

function readSize(text: string): number | undefined {
  const terms = readTerms(text, /[KMGTPEB]?/)?.map(({ number, unit }) => ({
    number,
    power: Math.max(0, "BKMGTPE".indexOf(unit)),
  }));
  // As in systemd, larger units come first: 1G 500M.
  const ordered = terms?.every(({ power }, index) => power < (terms[index - 1]?.power ?? Number.POSITIVE_INFINITY));
  if (terms === undefined || ordered !== true) return undefined;
  return whole(Math.floor(terms.reduce((total, { number, power }) => total + number * 1024 ** power, 0)));
}

/** In microseconds. A lone m is a minute, and M a month (systemd.time(7)). */
const TIMES: Readonly<Record<string, number>> = {
  us: 1,
  ms: 1000,
  s: 1_000_000,
  m: 60_000_000,
  h: 3_600_000_000,
  d: 86_400_000_000,
  w: 604_800_000_000,
  M: 2_629_800_000_000,
  y: 31_557_600_000_000,
};
const TIME_NAMES: Readonly<Record<string, string>> = {
  usec: "us",
  // Two ways to write a micro sign.
  "\u00b5s": "us",
  "\u03bcs": "us",
  msec: "ms",
  seconds: "s",
  second: "s",
  sec: "s",
  minutes: "m",
  minute: "m",
  min: "m",
  hours: "h",
  hour: "h",
  hr: "h",
  days: "d",
  day: "d",
  weeks: "w",
  week: "w",
  months: "M",
  month: "M",
  years: "y",
  year: "y",
};

/** A time as a multiple of `result` microseconds, rounded up; a number without unit has `unit` microseconds. */
function readTime(text: string, unit: number, result: number): number | undefined {
  const terms = readTerms(text, /[A-Za-z\u00b5\u03bc]*/);
  const sizes = terms?.map((term) => (term.unit === "" ? unit : TIMES[TIME_NAMES[term.unit] ?? term.unit]));
  if (terms === undefined || sizes?.some((size) => size === undefined)) return undefined;
  return whole(
    Math.ceil(terms.reduce((total, { number }, index) => total + number * (sizes?.[index] ?? 0), 0) / result),
  );
}

interface Term {
  readonly number: number;
  readonly unit: string;
}

/** `1h 30.5min`: numbers with their units. Undefined: something else. */
function readTerms(text: string, unit: RegExp): readonly Term[] | undefined {
  if (text.length > 100) return undefined;
  const pattern = new RegExp(`\\s*([0-9]{1,16}(?:\\.[0-9]{0,16})?)\\s*(${unit.source})\\s*`, "y");
  const terms: Term[] = [];
  while (pattern.lastIndex < text.length) {
    const [, number = "", name = ""] = pattern.exec(text) ?? [];
    if (number === "") return undefined;
    terms.push({ number: Number(number), unit: name });
  }
  return terms.length === 0 ? undefined : terms;
}

/** Beyond that a number is not exact any more; what is meant is infinity. */
function whole(number: number): number | undefined {
  return number <= Number.MAX_SAFE_INTEGER ? number : undefined;
}
