import { capabilityNumber, retainedCapabilities } from "../spec/capabilities.ts";
import { DEFAULT, type Source } from "../spec/source.ts";
import type { PlanInput } from "./input.ts";
import { defaultLimits } from "./limits.ts";
import { host, init } from "./make-step.ts";
import { seccompPolicy } from "./seccomp-policy.ts";
import type { Step } from "./step.ts";

export function loadFilter(input: PlanInput): Step[] {
  const policy = seccompPolicy(input.spec, retained(input), input.host.arch);
  return [host("load-filter", { policy }, firstSource(input.spec.systemCallFilter))];
}

/** What init gives up while the keeper assembles the root, and has nothing else to do. */
export function giveUp(input: PlanInput): Step[] {
  const { spec, host: facts } = input;
  return [
    ...defaultLimits(input),
    init("set-umask", { mask: 0o022 }),
    init(
      "drop-bounding-set",
      { keep: keptCapabilities(input), last: facts.lastCapability },
      firstSource(spec.capabilities),
    ),
    ...(allowsLaunch(input) ? filterCalls(input) : []),
  ];
}

/**
 * Whether the rest of the launch may run under the machine's filter: loading one takes longer than all else that init has
 * still to do when the root is there. The default one refuses none of that; a stub init is under no filter but its own.
 */
function allowsLaunch({ spec }: PlanInput): boolean {
  const { systemCallFilter, suppressSync, addressFamilies, processTwo } = spec;
  return systemCallFilter.length + addressFamilies.length === 0 && !suppressSync.value && !processTwo.value;
}

function filterCalls({ spec }: PlanInput): Step[] {
  return [init("load-seccomp", {}, firstSource(spec.systemCallFilter))];
}

function keptCapabilities(input: PlanInput): number[] {
  const numbers = retained(input).map((name) => capabilityNumber(name) ?? -1);
  return numbers.filter((number) => number >= 0 && number <= input.host.lastCapability);
}

/** The last steps before exec. A filter that may refuse calls of the launch is loaded here, while init still may, and allows what follows. */
export function confine(input: PlanInput): Step[] {
  const { spec } = input;
  const mask = keptMask(input);
  return [
    ...(spec.noNewPrivileges.value ? [init("no-new-privileges", {}, spec.noNewPrivileges.source)] : []),
    ...(allowsLaunch(input) ? [] : filterCalls(input)),
    init("set-capabilities", { mask }, firstSource(spec.capabilities)),
    ...raiseAmbient(input, mask),
  ];
}

/** What the payload is executed with, as hex. */
export function keptMask(input: PlanInput): string {
  const { lastCapability } = input.host;
  const known = retained(input).filter((name) => (capabilityNumber(name) ?? lastCapability + 1) <= lastCapability);
  return possibleMask(input, known);
}

/** As hex. In the host's user namespace nobody can have what berth itself does not have. */
export function possibleMask({ spec, host: facts }: PlanInput, names: readonly string[]): string {
  const wanted = names.reduce((bits, name) => bits | (1n << BigInt(capabilityNumber(name) ?? 0)), 0n);
  const possible = spec.privateUsers.value.mode === "no" ? wanted & BigInt(`0x${facts.capabilities}`) : wanted;
  return possible.toString(16);
}

function raiseAmbient({ spec }: PlanInput, mask: string): Step[] {
  if (spec.ambientCapabilities.length === 0) return [];
  const names = new Set(spec.ambientCapabilities.flatMap(({ value }) => value));
  const capabilities = [...names].map((name) => capabilityNumber(name) ?? -1).sort((a, b) => a - b);
  return [init("raise-ambient", { mask, capabilities }, firstSource(spec.ambientCapabilities))];
}

export function retained({ spec }: Pick<PlanInput, "spec">): readonly string[] {
  return retainedCapabilities(
    spec.capabilities.map(({ value }) => value),
    spec.privateNetwork.value,
  );
}

function firstSource(items: readonly { readonly source: Source }[]): Source {
  return items[0]?.source ?? DEFAULT;
}
