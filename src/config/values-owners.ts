import { OWNERSHIP_MODES, type OwnershipMode } from "../spec/machine-spec.ts";
import type { Parse } from "./setting.ts";
import { oneOf } from "./values.ts";

const mode = oneOf(OWNERSHIP_MODES, { yes: "auto", no: "off" });

/** PrivateUsersOwnership=: off, chown, map or auto; systemd 258 has foreign, too. */
export const ownership: Parse<OwnershipMode> = (value, report) => {
  if (value !== "foreign") return mode(value, report);
  report({
    what: "PrivateUsersOwnership=foreign is of trees that belong to systemd's foreign ids, for machines without privileges",
    expected: OWNERSHIP_MODES.join(", "),
    hint: "map shows the owners of such a tree right, too",
  });
  return undefined;
};
