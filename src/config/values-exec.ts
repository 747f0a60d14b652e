import type { PrivateUsers } from "../spec/machine-spec.ts";
import { suggest } from "../spec/nearest.ts";
import { quote } from "../spec/quote.ts";
import type { Parse } from "./setting.ts";
import { notYet, readBoolean } from "./values.ts";

/** (uid_t) -1, which chown(2) and friends read as "leave it". */
const UID_INVALID = 0xffff_ffff;
export const RANGE_DEFAULT = 65536;

/** PrivateUsers=: no, pick, identity, BASE or BASE:SIZE (systemd-nspawn(1), --private-users=). */
export const privateUsers: Parse<PrivateUsers> = (value, report) => {
  if (value === "pick" || value === "identity") return { mode: value };
  // Before the numbers: a lone 0 or 1 is a boolean to systemd, too.
  const truth = readBoolean(value);
  if (truth === false) return { mode: "no" };
  if (truth === true || value === "managed") {
    report({ what: notYet(`PrivateUsers=${value}`), hint: "pick needs no prepared tree" });
    return undefined;
  }
  const [base, size = String(RANGE_DEFAULT), ...more] = value.split(":", 3);
  if (!isNumber(base) || !isNumber(size) || more.length > 0) {
    report({
      what: `${quote(value)} is no range of users`,
      expected: "no, pick, identity, BASE or BASE:SIZE",
      hint: suggest(value, ["pick", "identity", "no"]),
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

/** Limit*=: VALUE or SOFT:HARD of numbers, sizes (1.5G), times (5min), nice levels (-5) or infinity. */
export const resourceLimit: Parse<string> = (value, report) => {
  const [soft, hard, more] = value.split(":", 3);
  const item = /^(infinity|[+-]?[0-9]{1,20}(\.[0-9]{1,20})?[A-Za-z ]{0,20})$/;
  if (soft !== undefined && item.test(soft) && (hard === undefined || item.test(hard)) && more === undefined)
    return value;
  report({ what: `${quote(value)} is no resource limit`, expected: "VALUE or SOFT:HARD, each a number or infinity" });
  return undefined;
};
