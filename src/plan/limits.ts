import type { HostFacts, RlimitName } from "./facts.ts";
import { hasCapability, type PlanInput } from "./input.ts";
import { init } from "./make-step.ts";
import type { Limit, Step } from "./step.ts";

/** What resource limits begin with at the kernel's own init, soft and hard; null: unlimited. nofile as systemd has it. */
const DEFAULTS: readonly Limit[] = [
  { name: "cpu", soft: null, hard: null },
  { name: "fsize", soft: null, hard: null },
  { name: "data", soft: null, hard: null },
  { name: "stack", soft: 8 << 20, hard: null },
  { name: "core", soft: 0, hard: null },
  { name: "rss", soft: null, hard: null },
  { name: "nofile", soft: 1024, hard: 524288 },
  { name: "memlock", soft: 8 << 20, hard: 8 << 20 },
  { name: "as", soft: null, hard: null },
  { name: "locks", soft: null, hard: null },
  { name: "msgqueue", soft: 819200, hard: 819200 },
  { name: "nice", soft: 0, hard: 0 },
  { name: "rtprio", soft: 0, hard: 0 },
  { name: "rttime", soft: null, hard: null },
];

/**
 * Processes and pending signals: half of what the system has threads, as the kernel gives its own init (kernel/fork.c).
 * They are counted by user and can't be raised from inside a user namespace, so the keeper takes them for the machine
 * to inherit. Without CAP_SYS_RESOURCE nobody has more than the host's.
 *
 * The same goes for what Limit*= asks for on top of the defaults: no hard limit can be raised from inside, and what a
 * user namespace may have of the counted ones is what its maker had. The keeper has only more by that, never less.
 */
export function raisedLimits(input: PlanInput): Limit[] {
  const { host: facts } = input;
  const { threadsMax } = facts.sysctls;
  const most = threadsMax === null ? null : Math.floor(threadsMax / 2);
  const mayRaise = most !== null && hasCapability(facts, "CAP_SYS_RESOURCE");
  const counted = (["nproc", "sigpending"] as const).map((name) => {
    const limit = mayRaise ? most : lower(most, facts.hardLimits[name]);
    return { name, soft: limit, hard: limit };
  });
  const inherited = new Map([...defaults(facts), ...counted].map(({ name, hard }) => [name, hard]));
  const raised = possibleLimits(input).filter(({ name, hard }) => above(hard, inherited.get(name)));
  const raisedNames = raised.map(({ name }) => name);
  return [
    ...counted.filter(({ name }) => !raisedNames.includes(name)),
    ...raised.map(({ name, hard }) => ({ name, soft: hard, hard })),
  ];
}

/** For the last steps: init has an fd for each bind. */
const LATE: RlimitName = "nofile";

/** Those that no Limit*= is about: a hard limit that is set can't be raised again from inside. */
export function defaultLimits(input: PlanInput): Step[] {
  return [init("set-limits", { limits: unchanged(input).filter(({ name }) => name !== LATE) })];
}

function unchanged({ spec, host: facts }: PlanInput): readonly Limit[] {
  const own = spec.limits.map(({ value }) => value.name);
  return defaults(facts).filter(({ name }) => !own.includes(name));
}

/** Last of all that init does: with few files or little memory it would not get through its own start. */
export function lastLimits(input: PlanInput): Step[] {
  const late = unchanged(input).filter(({ name }) => name === LATE);
  return [...late.map((limit) => init("set-limit", limit)), ...ownLimits(input)];
}

function ownLimits(input: PlanInput): Step[] {
  const limits = possibleLimits(input);
  return input.spec.limits.map(({ value: { name }, source }, index) => {
    const { soft = null, hard = null } = limits[index] ?? {};
    return init("set-limit", { name, soft, hard }, source);
  });
}

/** `infinity` is as much as there can be, where that is not all: see mostPossible. */
function possibleLimits(input: PlanInput): readonly Limit[] {
  return input.spec.limits.map(({ value: { name, soft, hard } }) => {
    const most = mostPossible(name, input);
    return { name, soft: soft ?? most, hard: hard ?? most };
  });
}

/** The highest hard limit berth can give a machine; null: any. Open files have a limit of the whole system (proc_sys_fs(5)). */
export function mostPossible(name: RlimitName, { host: facts, machine }: PlanInput): number | null {
  const most = hasCapability(facts, "CAP_SYS_RESOURCE") ? null : facts.hardLimits[name];
  return name === "nofile" ? lower(most, machine.openFilesMax) : most;
}

/** Nobody can raise a hard limit without CAP_SYS_RESOURCE, so the host's holds where it is lower. */
function defaults(facts: HostFacts): Limit[] {
  return DEFAULTS.map(({ name, soft, hard }) => {
    const most = lower(hard, facts.hardLimits[name]);
    return { name, soft: lower(soft, most), hard: most };
  });
}

function lower(a: number | null, b: number | null): number | null {
  if (a === null) return b;
  return b === null ? a : Math.min(a, b);
}

/** Whether a limit is higher than another; undefined: not higher. */
export function above(limit: number | null, other: number | null | undefined): boolean {
  if (other === null || other === undefined) return false;
  return limit === null || limit > other;
}
