import { quote } from "../spec/quote.ts";
import type { Parse } from "./setting.ts";

/** Time spans, as systemd.time(7) has them: `5`, `500ms`, `2min 30s`, `infinity`. */

const EXPECTED = "seconds, or a time such as 2min 30s";

/** In ms, rounded up. */
export const timeSpan: Parse<number> = (value, report) => {
  const time = readTime(value, 1_000_000, 1000);
  if (time === undefined) report({ what: `${quote(value)} is no time span`, expected: EXPECTED });
  return time;
};

/** The same; null: infinity. */
export const timeSpanOrInfinity: Parse<number | null> = (value, report) => {
  if (value === "infinity") return null;
  return timeSpan(value, (fault) => report({ ...fault, expected: `${EXPECTED}, or infinity` }));
};

/** Of a timeout 0 is none either, as in systemd.service(5). */
export const timeout: Parse<number | null> = (value, report) => {
  const time = timeSpanOrInfinity(value, report);
  return time === 0 ? null : time;
};

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
export function readTime(text: string, unit: number, result: number): number | undefined {
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
export function readTerms(text: string, unit: RegExp): readonly Term[] | undefined {
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
export function whole(number: number): number | undefined {
  return number <= Number.MAX_SAFE_INTEGER ? number : undefined;
}
