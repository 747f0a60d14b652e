import { readFileSync } from "node:fs";
import { BerthError, errorCode } from "../errors.ts";
import { parseMemberships } from "../host/cgroups.ts";
import type { Paths } from "../host/paths.ts";
import type { JoinTarget } from "../plan/join.ts";
import { textOf } from "./cgroup-tree.ts";
import { justEnded } from "./known-machines.ts";
import { type MachineRecord, planPath, readPlan } from "./record.ts";

/** @throws BerthError when the machine is frozen, or its plan is missing or damaged */
export function joinTarget(machine: MachineRecord, paths: Paths): JoinTarget {
  const { name, leader } = machine;
  const cgroup = leaderCgroup(machine);
  refuseFrozen(machine, cgroup);
  return { machine: name, pid: leader.pid, startTime: leader.startTime, cgroup, plan: readPlan(name, paths) };
}

/** What a step of the start is taken from that is not there. */
export function damagedPlan(name: string, cause: unknown, paths: Paths): BerthError {
  return new BerthError(`${planPath(name, paths)} is damaged: ${(cause as Error).message}`, { cause });
}

/** A leaf, whatever the machine's init has made of payload/: processes can be put into leaves only. */
function leaderCgroup({ name, leader, cgroupMount }: MachineRecord): string {
  const own = parseMemberships(memberships(name, leader.pid)).find(({ hierarchy }) => hierarchy === 0);
  if (own === undefined) throw new BerthError(`machine ${name} is in no cgroup of the unified hierarchy`);
  return `${cgroupMount}${own.path}`;
}

function memberships(name: string, pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, "utf8");
  } catch (error) {
    const code = errorCode(error);
    throw code === "ENOENT" || code === "ESRCH" ? justEnded(name) : error;
  }
}

/**
 * What joins a frozen cgroup never gets to run, and root inside may freeze its own. cgroup.events says what is frozen,
 * by whatever is above as well; cgroup.freeze what is to be, while a process can't be stopped just now (cgroups(7)).
 */
function refuseFrozen({ name, cgroup }: MachineRecord, leaderCgroup: string): void {
  const payload = `${cgroup}/payload`;
  const frozen = [...new Set([payload, leaderCgroup])].find(
    (path) => /^frozen 1$/m.test(textOf(path, "cgroup.events")) || textOf(path, "cgroup.freeze") === "1\n",
  );
  if (frozen === undefined) return;
  if (textOf(payload, "cgroup.freeze") === "1\n")
    throw new BerthError(`machine ${name} is paused`, { hint: `berth resume ${name} lets it go on` });
  throw new BerthError(`machine ${name} is frozen`, {
    hint: `echo 0 >${frozen}/cgroup.freeze thaws it, unless a cgroup above is frozen; berth terminate ${name} kills it`,
  });
}
