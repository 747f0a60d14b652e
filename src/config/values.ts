import { CAPABILITIES, capabilityName } from "../spec/capabilities.ts";
import type { CapabilityChange, EnvironmentVariable, SystemCallChange } from "../spec/machine-spec.ts";
import { checkHostname } from "../spec/name.ts";
import { suggest } from "../spec/nearest.ts";
import { quote } from "../spec/quote.ts";
import { SIGNAL_NAMES, signalNumber } from "../spec/signals.ts";
import { systemCallGroups, systemCallNames } from "../spec/system-calls.ts";
import type { Fault, Parse } from "./setting.ts";
import { PLAIN_WORDS, QUOTED_WORDS, splitWords, type Word, type WordRules } from "./words.ts";

/** The values most settings have. Each follows the parser systemd uses for the same setting. */

/** Every spelling of a boolean, see parse_boolean() of systemd; case does not count. */
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...["1", "yes", "y", "true", "t", "on"].map((text) => [text, true] as const),
  ...["0", "no", "n", "false", "f", "off"].map((text) => [text, false] as const),
]);

export function readBoolean(text: string): boolean | undefined {
  return BOOLEANS.get(text.toLowerCase());
}

export const boolean: Parse<boolean> = (value, report) => {
  const read = readBoolean(value);
  if (read === undefined) report({ what: `${quote(value)} is no boolean`, expected: "yes or no" });
  return read;
};

/** One of a fixed set of words; `yes` and `no`, where a boolean is understood as well, in any of its spellings. */
export function oneOf<const T extends string>(values: readonly T[], booleans?: { yes: T; no: T }): Parse<T> {
  return (value, report) => {
    const found = values.find((each) => each === value);
    if (found !== undefined) return found;
    const truth = booleans === undefined ? undefined : readBoolean(value);
    if (booleans !== undefined && truth !== undefined) return truth ? booleans.yes : booleans.no;
    const list = values.length === 1 ? values[0] : `${values.slice(0, -1).join(", ")} or ${values.at(-1)}`;
    report({ what: `unknown value ${quote(value)}`, expected: list, hint: suggest(value, values) });
    return undefined;
  };
}

/** Any text that fits a rule. */
export function matching(pattern: RegExp, what: string, expected: string): Parse<string> {
  return (value, report) => {
    if (pattern.test(value)) return value;
    report({ what: `${quote(value)} is no ${what}`, expected });
    return undefined;
  };
}

export function integer(least: number, most: number): Parse<number> {
  return (value, report) => {
    const number = /^[+-]?[0-9]{1,16}$/.test(value) ? Number(value) : Number.NaN;
    if (number >= least && number <= most) return number;
    report({ what: `${quote(value)} is no valid number`, expected: `a number from ${least} to ${most}` });
    return undefined;
  };
}

/** A path inside the machine. */
export const absolutePath: Parse<string> = (value, report) => {
  if (value.startsWith("/")) return value;
  report({ what: `path ${quote(value)} is not absolute`, expected: "a path that starts with /" });
  return undefined;
};

/** The words of a value, or undefined after its fault was reported. */
export function words(
  value: string,
  rules: WordRules,
  report: (fault: Fault) => void,
  limit?: number,
): { words: readonly Word[]; rest: Word | undefined } | undefined {
  const split = splitWords(value, rules, limit);
  if (!("what" in split)) return split;
  report(split);
  return undefined;
}

/** Parameters=: quoted words. */
export const parameters: Parse<readonly string[]> = (value, report) =>
  words(value, QUOTED_WORDS, report)?.words.map((word) => word.text);

/** Plain words, each read by the same rule. */
export function listOf<T>(parse: Parse<T>): Parse<readonly T[]> {
  return (value, report) => readWords(value, PLAIN_WORDS, parse, report);
}

/** So many bad words of one value are named; a megabyte of them would help nobody. */
const BAD_WORDS_MAX = 20;

/** Reads each word of a value by one rule. Undefined when no word could be read. */
function readWords<T>(
  value: string,
  rules: WordRules,
  parse: Parse<T>,
  report: (fault: Fault) => void,
): readonly T[] | undefined {
  const items: T[] = [];
  let bad = 0;
  for (const { text, offset } of words(value, rules, report)?.words ?? []) {
    const item = parse(text, (fault) => report({ ...fault, offset: offset + (fault.offset ?? 0) }));
    if (item !== undefined) items.push(item);
    else if (++bad === BAD_WORDS_MAX) {
      report({ what: "too many bad words, the rest is not read", offset });
      break;
    }
  }
  return items.length === 0 ? undefined : items;
}

/** Environment=: any number of quoted NAME=VALUE words. */
export const environment: Parse<readonly EnvironmentVariable[]> = (value, report) =>
  readWords(value, QUOTED_WORDS, environmentVariable, report);

/** --setenv=: one NAME=VALUE, the value exactly as it is. */
export const environmentOption: Parse<readonly EnvironmentVariable[]> = (value, report) => {
  const variable = environmentVariable(value, report);
  return variable === undefined ? undefined : [variable];
};

const environmentVariable: Parse<EnvironmentVariable> = (text, report) => {
  const equals = text.indexOf("=");
  const name = text.slice(0, equals === -1 ? undefined : equals);
  if (equals === -1) report({ what: `no "=" in the environment variable ${quote(text)}`, expected: "NAME=VALUE" });
  else if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
    report({
      what: `invalid environment variable name ${quote(name)}`,
      expected: "letters, digits and _, no digit first",
    });
  else return { name, value: text.slice(equals + 1) };
  return undefined;
};

/** White space as in files, commas as in options: no name has one. */
const CAPABILITY_WORDS: WordRules = { ...PLAIN_WORDS, separators: `${PLAIN_WORDS.separators},` };

/** Capability= and its relatives: names or numbers. */
export function capabilities(change: CapabilityChange["change"]): Parse<CapabilityChange> {
  return (value, report) => {
    const names = readWords(value, CAPABILITY_WORDS, capability, report);
    if (names === undefined) return undefined;
    return { change, names: names.includes("all") ? "all" : [...new Set(names)] };
  };
}

const capability: Parse<string> = (text, report) => {
  const name = text === "all" ? text : capabilityName(text);
  if (name === undefined)
    report({
      what: `unknown capability ${quote(text)}`,
      expected: "a capability name such as CAP_NET_ADMIN, or all",
      hint: suggest(text, ["all", ...CAPABILITIES]) ?? suggest(`CAP_${text}`, CAPABILITIES),
    });
  return name;
};

/** SystemCallFilter=: system calls and groups; a leading ~ turns the whole list into denials. */
export const systemCalls: Parse<SystemCallChange> = (value, report) => {
  const { deny, words: names } = deniable(value, systemCall, "system calls or groups", report);
  return names === undefined ? undefined : { change: deny ? "deny" : "allow", names };
};

/** Plain words, each read by the same rule, that a leading ~ turns into the opposite. */
export function deniable<T>(
  value: string,
  parse: Parse<T>,
  expected: string,
  report: (fault: Fault) => void,
): { deny: boolean; words: readonly T[] | undefined } {
  const deny = value.startsWith("~");
  const shift = deny ? 1 : 0;
  const list = value.slice(shift);
  if (list.trim() === "") report({ what: 'nothing follows the "~"', expected });
  const read = readWords<T>(list, PLAIN_WORDS, orLateDenial(parse), (fault) =>
    report({ ...fault, offset: shift + (fault.offset ?? 0) }),
  );
  return { deny, words: read };
}

function orLateDenial<T>(parse: Parse<T>): Parse<T> {
  return (text, report) => {
    if (!text.startsWith("~")) return parse(text, report);
    const hint = "what is denied has a line of its own, which begins with ~";
    report({ what: `a "~" stands only at the beginning of a value, not in ${quote(text)}`, hint });
    return undefined;
  };
}

const systemCall: Parse<string> = (text, report) => {
  const group = text.startsWith("@");
  if (group ? systemCallGroups().has(text) : systemCallNames().has(text)) return text;
  report({
    what: `unknown system call${group ? " group" : ""} ${quote(text)}`,
    hint: suggest(text, group ? systemCallGroups().keys() : systemCallNames()),
  });
  return undefined;
};

export const signal: Parse<number> = (value, report) => {
  const number = signalNumber(value);
  if (number === undefined)
    report({
      what: `unknown signal ${quote(value)}`,
      expected: "a signal such as SIGTERM, SIGRTMIN+3 or 15",
      hint: suggest(value.toUpperCase().startsWith("SIG") ? value : `SIG${value}`, SIGNAL_NAMES),
    });
  return number;
};

/** MachineID=: 32 hex digits or a UUID, not all zero. */
export const machineId: Parse<string> = (value, report) => {
  const plain = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value) ? value.replaceAll("-", "") : value;
  if (!/^[0-9a-f]{32}$/i.test(plain))
    report({ what: `${quote(value)} is no machine id`, expected: "32 hex digits or a UUID" });
  else if (/^0*$/.test(plain)) report({ what: "the machine id is all zeros", expected: "any other id" });
  else return plain.toLowerCase();
  return undefined;
};

export const hostname: Parse<string> = (value, report) => {
  const wrong = checkHostname(value);
  if (wrong === undefined) return value;
  report({ what: `host name ${quote(value)} ${wrong}`, expected: "a name such as web or web.example.org" });
  return undefined;
};

/** The words for a use of something that is read but not done yet. */
export function notYet(what: string): string {
  return `${what} is not in effect yet in this version of berth`;
}
