import { BerthError, errorCode } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { findTree } from "../host/tree-place.ts";
import { requireName } from "../spec/name.ts";
import { type KnownBoot, knownBoots } from "./history.ts";
import { noSuchMachine } from "./known-machines.ts";

/**
 * A boot of a machine by its number; undefined: the one that runs, or else the last one. @throws BerthError when there is
 * none, with those that there are
 */
export function findBoot(name: string, boot: number | undefined, paths: Paths): KnownBoot {
  requireName(name);
  const known = boots(name, paths);
  const found = boot === undefined ? known[0] : known.find((each) => each.boot === boot);
  if (found !== undefined) return found;
  if (known.length > 0) {
    const hint = `these are: ${known.map((each) => each.boot).join(", ")}`;
    throw new BerthError(boot === 0 ? `machine ${name} does not run` : `boot ${boot} of machine ${name} is not kept`, {
      hint,
      kind: "NoSuchMachine",
    });
  }
  if (findTree(paths.machines, name) === null) throw noSuchMachine(name, paths);
  throw new BerthError(`machine ${name} has not run since the host's boot`, {
    kind: "NoSuchMachine",
    hint: `berth start ${name} boots it`,
  });
}

function boots(name: string, paths: Paths): readonly KnownBoot[] {
  try {
    return knownBoots(name, paths);
  } catch (error) {
    if (errorCode(error) !== "EACCES") throw error;
    throw new BerthError(`what machine ${name} said on its console can be read by root only`, {
      hint: "run this as root",
      kind: "AccessDenied",
    });
  }
}
