import { ADDRESS_FAMILIES } from "../spec/address-families.ts";
import type { AddressFamilyChange, PrivateUsers } from "../spec/machine-spec.ts";
import { suggest } from "../spec/nearest.ts";
import { quote } from "../spec/quote.ts";
import type { Parse } from "./setting.ts";
import { capabilities, deniable, readBoolean, words } from "./values.ts";
import { PLAIN_WORDS, type WordRules } from "./words.ts";

/** (uid_t) -1, which chown(2) and friends read as "leave it". */
const UID_INVALID = 0xffff_ffff;
export const RANGE_DEFAULT = 65536;

/** PrivateUsers=: yes, no, pick, identity, BASE or BASE:SIZE (systemd-nspawn(1), --private-users=). */
export const privateUsers: Parse<PrivateUsers> = (value, report) => {
  if (value === "pick" || value === "identity") return { mode: value };
  // Before the numbers: a lone 0 or 1 is a boolean to systemd, too.
  const truth = readBoolean(value);
  if (truth !== undefined) return { mode: truth ? "yes" : "no" };
  if (value === "managed") {
    report({
      what: "PrivateUsers=managed is of machines without privileges, whose ranges systemd-nsresourced gives out",
      expected: "yes, no, pick, identity, BASE or BASE:SIZE",
      hint: "berth runs as root and gives out ranges itself: that is pick",
    });
    return undefined;
  }
  const [base, size = String(RANGE_DEFAULT), ...more] = value.split(":", 3);
  if (!isNumber(base) || !isNumber(size) || more.length > 0) {
    report({
      what: `${quote(value)} is no range of users`,
      expected: "yes, no, pick, identity, BASE or BASE:SIZE",
      hint: suggest(value, ["pick", "identity", "yes", "no"]),
    });
    return undefined;
  }
  return range(Number(base), Number(size), base.length + 1, report);
};

/** Decimal without sign or leading zeros, as parse_uid(). */
function isNumber(text: string | undefined): text is string {
  return text !== undefined && /^(0|[1-9][0-9]{0,9})$/.test(text);
}

function range(
  base: number,
  size: number,
  sizeAt: number,
  report: Parameters<Parse<PrivateUsers>>[1],
): PrivateUsers | undefined {
  if (base >= UID_INVALID) report({ what: `user id ${base} is not valid`, expected: `at most ${UID_INVALID - 1}` });
  else if (size < 1) report({ what: "the range is empty", expected: "a size of at least 1", offset: sizeAt });
  else if (base + size > UID_INVALID)
    report({
      what: `range ${base}:${size} ends beyond the last user id`,
      expected: `BASE+SIZE of at most ${UID_INVALID}`,
    });
  else return { mode: "range", base, size };
  return undefined;
}

/** User=: a name as useradd(8) takes it, or a number. */
export const user: Parse<string> = (value, report) => {
  if (/^[0-9]+$/.test(value)) {
    if (isNumber(value) && Number(value) < UID_INVALID) return value;
    report({ what: `user id ${value} is not valid`, expected: `0 to ${UID_INVALID - 1}` });
  } else if (/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,255}\$?$/.test(value)) return value;
  else report({ what: `${quote(value)} is no user`, expected: "a user name or number" });
  return undefined;
};

/** AmbientCapability=: names; `all` is not for it (systemd.nspawn(5)). */
export const ambientCapabilities: Parse<readonly string[]> = (value, report) => {
  const names = capabilities("add")(value, report)?.names;
  if (names !== "all") return names;
  report({ what: "all capabilities can't be ambient ones", expected: "the names of those that are needed" });
  return undefined;
};

/** Kernels are built for at most that many (CONFIG_NR_CPUS). */
const CPUS_MAX = 8192;
const CPU_WORDS: WordRules = { ...PLAIN_WORDS, separators: `${PLAIN_WORDS.separators},` };

/** CPUAffinity=: numbers and ranges of CPUs, separated by spaces or commas. */
export const cpuList: Parse<readonly number[]> = (value, report) => {
  const split = words(value, CPU_WORDS, report);
  const ranges = (split?.words ?? []).map(({ text, offset }) =>
    cpuRange(text, (fault) => report({ ...fault, offset })),
  );
  return ranges.every((range) => range !== undefined) ? [...new Set(ranges.flat())].sort((a, b) => a - b) : undefined;
};

const cpuRange: Parse<readonly number[]> = (text, report) => {
  const [, first, last = first] = /^([0-9]{1,9})(?:-([0-9]{1,9}))?$/.exec(text) ?? [];
  const [from, to] = [Number(first), Number(last)];
  if (first === undefined) report({ what: `${quote(text)} is no CPU`, expected: "a list such as 0-3,8" });
  else if (from > to) report({ what: `the range ${text} is empty`, expected: `${to}-${from}` });
  else if (to >= CPUS_MAX) report({ what: `there is no CPU ${to}`, expected: `a number below ${CPUS_MAX}` });
  else return Array.from({ length: to - from + 1 }, (_, index) => from + index);
  return undefined;
};

/** RestrictAddressFamilies=: none, families, or after ~ families that may not be used. */
export const addressFamilies: Parse<AddressFamilyChange> = (value, report) => {
  if (value === "none") return { change: "none", families: [] };
  const { deny, words: families } = deniable(value, addressFamily, "address families", report);
  return families === undefined ? undefined : { change: deny ? "deny" : "allow", families };
};

const addressFamily: Parse<string> = (text, report) => {
  if (ADDRESS_FAMILIES.has(text)) return text;
  report({
    what: `unknown address family ${quote(text)}`,
    expected: "a family such as AF_INET, or none alone",
    hint:
      text === "none"
        ? undefined
        : (suggest(text, ADDRESS_FAMILIES.keys()) ?? suggest(`AF_${text}`, ADDRESS_FAMILIES.keys())),
  });
  return undefined;
};
