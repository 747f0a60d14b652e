import type { HostFacts } from "./facts.ts";
import { type PlanInput, rootId } from "./input.ts";
import { host, keeper } from "./make-step.ts";
import type { Step } from "./step.ts";

/**
 * supervisor/ holds the keeper, payload/ the machine. Below systemd both are in a transient scope that systemd makes
 * around the keeper, so that comes after it is spawned; without systemd berth makes its own, before.
 */
export function makeCgroup(input: PlanInput, when: "before" | "after"): Step[] {
  const owner = rootId(input);
  const path = cgroupPath(input);
  if (!input.host.systemd)
    return when === "before"
      ? [
          host("make-cgroup", {
            path,
            owner,
            parents: parentsOf(input),
            controllers: [...input.host.cgroup.controllers],
          }),
        ]
      : [];
  if (when === "before") return [];
  const says = "the scope is made";
  return [
    host("make-scope", { unit: scopeName(input.spec.name), path, owner }),
    host("signal", { sync: 1, to: "keeper", says, carries: [] }),
  ];
}

/** The keeper goes into supervisor/ by itself and opens payload/ for the clone. */
export function enterCgroup(input: PlanInput): Step[] {
  const scope = "the scope is made";
  const says = "the keeper is in its cgroup";
  return [
    ...(input.host.systemd ? [keeper("await", { sync: 1, from: "host", says: scope, carries: [] })] : []),
    keeper("move-keeper", { path: cgroupPath(input) }),
    keeper("signal", { sync: 2, to: "host", says, carries: ["keeper"] }),
    host("await", { sync: 2, from: "keeper", says, carries: ["keeper"] }),
    // Without systemd they were handed down when the cgroup was made.
    ...(input.host.systemd ? [host("enable-controllers", { path: cgroupPath(input) })] : []),
  ];
}

/** From where berth runs down to the machine: each hands its controllers on. */
function parentsOf({ host: facts, places }: PlanInput): string[] {
  const own = ownCgroup(facts);
  return [own, `${own}/${places.cgroup}`];
}

function ownCgroup({ cgroup }: HostFacts): string {
  const mount = cgroup.mount ?? "/sys/fs/cgroup";
  return cgroup.own === "/" ? mount : `${mount}${cgroup.own}`;
}

export function cgroupPath({ spec, host: facts, places }: PlanInput): string {
  if (facts.systemd) return `${facts.cgroup.mount ?? "/sys/fs/cgroup"}/machine.slice/${scopeName(spec.name)}`;
  return `${ownCgroup(facts)}/${places.cgroup}/${spec.name}`;
}

/** `machine-NAME.scope` with what unit names can't hold, and the hyphen that means nesting, escaped (systemd.unit(5)). */
function scopeName(machine: string): string {
  const escaped = machine.replace(/[^A-Za-z0-9:_.]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16)}`);
  return `machine-${escaped}.scope`;
}
