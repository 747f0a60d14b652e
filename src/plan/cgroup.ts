import type { HostFacts } from "./facts.ts";
import { type PlanInput, rootId } from "./input.ts";
import { host, keeper } from "./make-step.ts";
import type { Step } from "./step.ts";
import { scopeName, slicePath, type Unit, unitOf } from "./unit.ts";

/**
 * supervisor/ holds the keeper, payload/ the machine. Below systemd both are in a transient scope that systemd makes
 * around the keeper, so that comes after it is spawned, or with --keep-unit in the unit that berth is in; without
 * systemd berth makes a cgroup of its own, before.
 */
export function makeCgroup(input: PlanInput, when: "before" | "after"): Step[] {
  const path = cgroupPath(input);
  const { keepUnit, slice, unitProperties } = input.spec;
  if (hasScope(input)) {
    if (when === "before") return [];
    const unit = scopeName(input.spec.name);
    return [
      host("make-scope", { unit, slice: slice.value, path }, slice.source),
      ...unitProperties.map(({ value, source }) => host("set-unit-property", { unit, ...value }, source)),
      host("signal", { sync: 1, to: "keeper", says: SCOPE_IS_MADE, carries: [] }),
    ];
  }
  if (when === "after") return [];
  const kept = keptUnit(input);
  if (kept !== null) return [host("use-unit", { unit: kept.name, path }, keepUnit.source)];
  const controllers = [...input.host.cgroup.controllers];
  return [host("make-cgroup", { path, parents: parentsOf(input), controllers })];
}

/** Whoever runs in it meanwhile is still ours. */
export function delegateCgroup(input: PlanInput): Step[] {
  return [host("delegate-cgroup", { path: `${cgroupPath(input)}/payload`, owner: rootId(input) })];
}

const SCOPE_IS_MADE = "the scope is made";

/** The keeper goes into supervisor/ by itself and opens payload/ for the clone. */
export function enterCgroup(input: PlanInput): Step[] {
  const says = "the keeper is in its cgroup";
  return [
    ...(hasScope(input) ? [keeper("await", { sync: 1, from: "host", says: SCOPE_IS_MADE, carries: [] })] : []),
    keeper("move-keeper", { path: cgroupPath(input) }),
    keeper("signal", { sync: 3, to: "host", says, carries: ["keeper"] }),
    host("await", { sync: 3, from: "keeper", says, carries: ["keeper"] }),
    // Without systemd they were handed down when the cgroup was made.
    ...(input.host.systemd ? [host("enable-controllers", { path: cgroupPath(input) })] : []),
  ];
}

/** Of systemd's, which the machine is in; null: none. */
export function unitName(input: PlanInput): string | null {
  return hasScope(input) ? scopeName(input.spec.name) : (keptUnit(input)?.name ?? null);
}

function hasScope({ spec, host: { systemd } }: PlanInput): boolean {
  return systemd && !spec.keepUnit.value;
}

/** Where preconditions.ts has found one. */
function keptUnit({ spec, host: { cgroup, systemd } }: PlanInput): Unit | null {
  return systemd && spec.keepUnit.value ? unitOf(cgroup.own) : null;
}

/** From where berth runs down to the machine: each hands its controllers on. */
function parentsOf({ host: facts, places }: PlanInput): string[] {
  const own = ownCgroup(facts);
  return [own, `${own}/${places.cgroup}`];
}

function ownCgroup({ cgroup }: HostFacts): string {
  return cgroup.own === "/" ? mountOf(cgroup) : `${mountOf(cgroup)}${cgroup.own}`;
}

function mountOf({ mount }: HostFacts["cgroup"]): string {
  return mount ?? "/sys/fs/cgroup";
}

export function cgroupPath(input: PlanInput): string {
  const { spec, host: facts, places } = input;
  const mount = mountOf(facts.cgroup);
  if (hasScope(input)) return `${mount}${slicePath(spec.slice.value)}/${scopeName(spec.name)}`;
  const kept = keptUnit(input);
  return kept === null ? `${ownCgroup(facts)}/${places.cgroup}/${spec.name}` : `${mount}${kept.path}`;
}
