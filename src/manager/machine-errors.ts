import { BerthError } from "../errors.ts";
import { listTrees } from "../host/list-trees.ts";
import type { Paths } from "../host/paths.ts";
import { suggest } from "../spec/nearest.ts";
import { quote } from "../spec/quote.ts";
import type { Pending } from "./restarts.ts";
import { inSeconds } from "./timers.ts";

/** Why a machine can't be told something, being what it is just now. */

export function isAlive(name: string, stopping: boolean, pending: Pending | null): BerthError {
  if (stopping)
    return new BerthError(`machine ${name} is busy: it is stopping`, {
      kind: "Busy",
      hint: `berth wait ${name} stopped`,
    });
  if (pending === null) return new BerthError(`machine ${name} is running already`, { kind: "MachineExists" });
  return new BerthError(`machine ${name} is started again ${inSeconds(pending.at)}: ${pending.why}`, {
    kind: "MachineExists",
    hint: `berth terminate ${name} ends that, and berth start can boot it at once then`,
  });
}

export function isDead(name: string): BerthError {
  return new BerthError(`no machine ${quote(name)} is running`, {
    kind: "NoSuchMachine",
    hint: `berth start ${name} boots it`,
  });
}

/** Nothing of it runs just now, and it is about to boot. */
export function isBetween(name: string, pending: Pending | null): BerthError {
  const what = pending === null ? "is about to boot" : `is started again ${inSeconds(pending.at)}: ${pending.why}`;
  return new BerthError(`machine ${name} ${what}`, { kind: "Busy", hint: `berth wait ${name} waits until it is up` });
}

export function noTree(name: string, { machines }: Paths): BerthError {
  return new BerthError(`there is no machine ${name} in ${machines}`, {
    kind: "NoSuchMachine",
    hint: suggest(name, listTrees(machines)) ?? `berth bootstrap debian ${name} makes one`,
  });
}
