import { BerthError } from "../errors.ts";
import { type Paths, realPath } from "../host/paths.ts";
import type { MethodName, Places } from "../manager/protocol.ts";
import { printable } from "../spec/quote.ts";

/** What takes a tree, or settings, by a name. Everything else is about what runs, and of that there is one of a name in a BERTH_RUN. */
const OF_STORE: readonly MethodName[] = ["start", "startEphemeral", "apply", "snapshot", "rollback", "pull"];
const NAMES = { machines: "machines", etc: "settings" } as const;

/**
 * The socket is found by BERTH_RUN alone, so a client may have another store than the daemon: its machine of that name is not this
 * one's. `places`: undefined from a client of before there were any.
 * @throws BerthError that names both
 */
export function refuseOtherPlaces(method: string, places: Places | undefined, paths: Paths): void {
  if (places === undefined || !OF_STORE.some((each) => each === method)) return;
  for (const key of ["machines", "etc"] as const) {
    if (isSame(places[key], paths[key])) continue;
    throw new BerthError(
      `berthd of ${paths.run} has its ${NAMES[key]} in ${paths[key]}, not in ${printable(places[key])}`,
      {
        hint: `set BERTH_${key.toUpperCase()} as it was for berthd, or a BERTH_RUN of its own, for a berthd of its own`,
      },
    );
  }
}

/** The client has followed the links of its own; what it says is compared, and never opened. */
function isSame(its: string, mine: string): boolean {
  return its === mine || its === realPath(mine);
}
