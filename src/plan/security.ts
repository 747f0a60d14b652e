import { capabilityNumber, retainedCapabilities } from "../spec/capabilities.ts";
import { DEFAULT, type Source } from "../spec/source.ts";
import type { HostFacts } from "./facts.ts";
import type { PlanInput } from "./input.ts";
import { host, init, keeper } from "./make-step.ts";
import { seccompPolicy } from "./seccomp-policy.ts";
import type { Limit, Step } from "./step.ts";

/** What resource limits begin with at the kernel's own init, soft and hard; null: unlimited. nofile as systemd has it. */
const LIMITS: readonly Limit[] = [
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
 */
export function raiseLimits({ host: facts }: PlanInput): Step[] {
  const { threadsMax } = facts.sysctls;
  const most = threadsMax === null ? null : Math.floor(threadsMax / 2);
  const mayRaise = most !== null && hasCapability(facts, "CAP_SYS_RESOURCE");
  const limits = (["nproc", "sigpending"] as const).map((name) => {
    const limit = mayRaise ? most : lower(most, facts.hardLimits[name]);
    return { name, soft: limit, hard: limit };
  });
  return [keeper("raise-limits", { limits })];
}

function hasCapability({ capabilities }: HostFacts, name: string): boolean {
  return ((BigInt(`0x${capabilities}`) >> BigInt(capabilityNumber(name) ?? 0)) & 1n) === 1n;
}

export function loadFilter(input: PlanInput): Step[] {
  const policy = seccompPolicy(input.spec, retained(input), input.host.arch);
  return [host("load-filter", { policy }, firstSource(input.spec.systemCallFilter))];
}

/** What init gives up while the keeper assembles the root. */
export function giveUp(input: PlanInput): Step[] {
  const { spec, host: facts } = input;
  return [
    init("set-limits", { limits: limits(facts) }),
    init("set-umask", { mask: 0o022 }),
    init(
      "drop-bounding-set",
      { keep: keptCapabilities(input), last: facts.lastCapability },
      firstSource(spec.capabilities),
    ),
  ];
}

function keptCapabilities(input: PlanInput): number[] {
  const numbers = retained(input).map((name) => capabilityNumber(name) ?? -1);
  return numbers.filter((number) => number >= 0 && number <= input.host.lastCapability);
}

/** The last steps before exec. The filter is loaded while init may still load one, so it allows what follows it. */
export function confine(input: PlanInput): Step[] {
  const { spec, host: facts } = input;
  const known = keptCapabilities(input);
  const source = firstSource(spec.capabilities);
  const wanted = known.reduce((bits, number) => bits | (1n << BigInt(number)), 0n);
  // In the host's user namespace nobody can have what berth itself does not have.
  const possible = spec.privateUsers.value.mode === "no" ? wanted & BigInt(`0x${facts.capabilities}`) : wanted;
  return [
    init("load-seccomp", {}, firstSource(spec.systemCallFilter)),
    init("set-capabilities", { mask: possible.toString(16) }, source),
  ];
}

export function retained({ spec }: Pick<PlanInput, "spec">): readonly string[] {
  return retainedCapabilities(
    spec.capabilities.map(({ value }) => value),
    spec.privateNetwork.value,
  );
}

/** A hard limit can't be raised by a machine's root, nor by berth without CAP_SYS_RESOURCE: then the host's holds. */
function limits(facts: HostFacts): Limit[] {
  return LIMITS.map(({ name, soft, hard }) => {
    const most = lower(hard, facts.hardLimits[name]);
    return { name, soft: lower(soft, most), hard: most };
  });
}

function lower(a: number | null, b: number | null): number | null {
  if (a === null) return b;
  return b === null ? a : Math.min(a, b);
}

function firstSource(items: readonly { readonly source: Source }[]): Source {
  return items[0]?.source ?? DEFAULT;
}
