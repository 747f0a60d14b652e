import type { RlimitName } from "../plan/facts.ts";
import type { ResourceLimit } from "../spec/machine-spec.ts";
import { quote } from "../spec/quote.ts";
import type { Parse } from "./setting.ts";
import { readTerms, readTime, whole } from "./values-time.ts";

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
