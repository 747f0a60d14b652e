import { capabilityNumber } from "../spec/capabilities.ts";
import type { MachineSpec } from "../spec/machine-spec.ts";
import { rootKind } from "../spec/root-kind.ts";
import type { HostFacts, MachineFacts, TreeFacts } from "./facts.ts";
import { BLOCK, diskBase } from "./id-blocks.ts";
import type { WindowSize } from "./step.ts";

/** Everything a plan is made from. Two equal inputs give two equal plans. */
export interface PlanInput {
  readonly spec: MachineSpec;
  readonly host: HostFacts;
  readonly machine: MachineFacts;
  readonly places: PlanPlaces;
  /** How the start was asked for. */
  readonly request: PlanRequest;
}

/** Paths on the host that berth keeps for this machine. */
export interface PlanPlaces {
  /** Lock file of the name. */
  readonly lock: string;
  /** Directory of the running machine's record: exit status, console log, notify socket. */
  readonly record: string;
  /** Directory of the registry of id ranges in use, shared with systemd-nspawn. */
  readonly ranges: string;
  /** The same of trees that are written to. */
  readonly trees: string;
  /** File that remembers which range a machine was given. */
  readonly ledger: string;
  /** Where an ephemeral machine's changes go; made and removed with it. */
  readonly layer: string;
  /** What temporary directories of this machine begin with; made and removed with it. */
  readonly temporary: string;
  /** This berth root's part of the cgroup tree, below where berth runs: `berth-1a2b3c4d`. */
  readonly cgroup: string;
}

export interface PlanRequest {
  /** `berth run`: the machine ends when the process that started it does. */
  readonly foreground: boolean;
  /** The machine has been running and boots again: what an ephemeral one has changed stays. */
  readonly reboot?: boolean;
  /** console: a terminal of the machine's own; caller: the fds 0-2 that berth was started with (--pipe). */
  readonly stdio: "console" | "caller";
  /** TERM of the terminal the console is shown on, null: none is. */
  readonly term: string | null;
  /** That terminal's size, which the console has from the first program on. */
  readonly size?: WindowSize | null;
}

/** Group inside that terminals belong to: tty, or root in a range without that one. */
export function terminalGroup(input: PlanInput): number {
  const TTY = 5;
  return (idRange(input)?.size ?? BLOCK) > TTY ? TTY : 0;
}

/** The machine's ids: `base` on the host is its root. Null: it has no user namespace and shares the host's. */
export interface IdRange {
  readonly base: number;
  readonly size: number;
}

/** @throws Error when `pick` found no range: preconditions.ts reports that before a plan is made */
export function idRange({ spec, machine }: PlanInput): IdRange | null {
  const users = spec.privateUsers.value;
  switch (users.mode) {
    case "no":
      return null;
    case "identity":
      return { base: 0, size: BLOCK };
    case "yes":
      return { base: diskBase(machine.tree) ?? 0, size: BLOCK };
    case "range":
      return { base: users.base, size: users.size };
    case "pick":
      if (machine.rangeBase === null) throw new Error("no range of ids was picked");
      return { base: machine.rangeBase, size: BLOCK };
  }
}

/** Host id of the machine's root. */
export function rootId(input: PlanInput): number {
  return idRange(input)?.base ?? 0;
}

/** The machine's id (container_uuid): the one that its /etc has, or the one that is set, or a new one. 32 hex digits. */
export function machineId({ spec, machine }: PlanInput): string {
  return knownMachineId(spec, machine.tree) ?? machine.randomId;
}

/** Null: it gets a new one. */
export function knownMachineId(spec: MachineSpec, { machineId: own }: Pick<TreeFacts, "machineId">): string | null {
  return (rootKind(spec) === "memory" ? null : own) ?? spec.machineId.value ?? null;
}

/** Whether berth itself has a capability. */
export function hasCapability({ capabilities }: HostFacts, name: string): boolean {
  return ((BigInt(`0x${capabilities}`) >> BigInt(capabilityNumber(name) ?? 0)) & 1n) === 1n;
}
