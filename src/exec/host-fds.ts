import type { FdName } from "../plan/step.ts";
import { FIRST_FD, isHeld } from "../stage/stage-abi.ts";

/** What the host hands to the stage, by the numbers they have there. */
export interface HostFds {
  /** The first number behind the locks that the keeper holds. */
  readonly free: number;
  /** Two ends of the socket between keeper and init. */
  readonly keeperEnd: number;
  readonly initEnd: number;
  /** fds that host steps opened, by name. */
  readonly named: ReadonlyMap<FdName, number>;
}

/** The numbers in the order of handing over: the image, the locks, the pair, and what else is named. */
export function numberFds(names: readonly FdName[]): HostFds {
  const others = names.filter((name) => !isHeld(name));
  const free = FIRST_FD + 1 + names.length - others.length;
  const [keeperEnd, initEnd, first] = [free, free + 1, free + 2];
  return { free, keeperEnd, initEnd, named: new Map(others.map((name, index) => [name, first + index])) };
}
