import { bindInto, boundIn, unbindFrom } from "../copy/bind.ts";
import { BerthError } from "../errors.ts";
import { type AppliedBind, type ApplyState, type Revert, readApply, writeApply } from "../machine/apply-file.ts";
import type { MachineRecord } from "../machine/record.ts";
import type { SettingsBind } from "../plan/live-differences.ts";
import { monotonic } from "../sys/clock.ts";
import { type Differences, differencesOf, placeOf, requireManaged, showBind } from "./differences.ts";
import { Launcher } from "./launcher.ts";
import type { ManagedMachine } from "./managed-machine.ts";
import type { Manager } from "./manager.ts";
import { type MachinePolicy, policyOf } from "./policy.ts";
import type { Surroundings } from "./surroundings.ts";
import { TIMER_MAX } from "./timers.ts";

/** What differs, for people and programs. */
export interface ShownDifference {
  /** live: done at once, or to be done; restart: by the next start; outside: changed by somebody, and left alone. */
  readonly kind: "live" | "restart" | "outside";
  readonly what: string;
  /** `file:line`; null: no single one. */
  readonly source: string | null;
}

export interface Applied {
  readonly machine: string;
  readonly differences: readonly ShownDifference[];
  /** The live ones have been made. */
  readonly applied: boolean;
  /** Until when somebody has to confirm, ISO 8601; null: nobody has to. */
  readonly confirmBy: string | null;
}

/** Brings running machines in line with their settings, as far as that can be done; and takes it back where nobody confirms. */
export class Applies {
  readonly #manager: Manager;
  readonly #launcher: Launcher;
  readonly #log: Surroundings["log"];
  readonly #timers = new Map<string, NodeJS.Timeout>();

  constructor(manager: Manager, log: Surroundings["log"]) {
    this.#manager = manager;
    this.#launcher = new Launcher(manager.paths);
    this.#log = log;
  }

  /** What an earlier daemon has left to be confirmed: its time runs on. */
  resume(): void {
    for (const { name } of this.#manager.list()) {
      const machine = this.#manager.managed(name);
      const pending = machine?.record === undefined ? null : this.#state(machine.record).pending;
      if (pending !== null) this.#wait(name, pending);
    }
  }

  /** Machines keep what was applied, and its time runs on with the next daemon. */
  close(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  /** `within`: ms in which somebody has to confirm; null: nobody has to. Where one change fails, all are taken back. */
  apply(
    name: string,
    { dryRun, within }: { readonly dryRun: boolean; readonly within: number | null },
  ): Promise<Applied> {
    return this.#manager.operations.run(name, "apply", async () => {
      const { machine, record } = this.#running(name);
      const prepared = this.#launcher.prepare(name);
      const policy = machine.policy ?? policyOf(prepared.spec);
      const found = await differencesOf(record, policy, prepared, this.#manager.paths);
      const differences = show(found);
      const live = differences.some(({ kind }) => kind === "live");
      if (dryRun || !live) return { machine: name, differences, applied: false, confirmBy: null };
      const { pending } = this.#state(record);
      if (pending !== null) throw waits(name, pending);
      const deadline = await this.#make(machine, record, found, within);
      const confirmBy = deadline === null ? null : new Date(Date.now() + deadline - monotonic()).toISOString();
      return { machine: name, differences, applied: true, confirmBy };
    });
  }

  /** What was applied last stays. */
  confirm(name: string): Promise<void> {
    return this.#manager.operations.run(name, "apply", async () => {
      const { record } = this.#running(name);
      const state = this.#state(record);
      if (state.pending === null) throw nothingPending(name);
      clearTimeout(this.#timers.get(name));
      this.#timers.delete(name);
      writeApply(name, { ...state, pending: null }, this.#manager.paths);
    });
  }

  /** What was applied last is taken back. */
  revert(name: string): Promise<void> {
    return this.#manager.operations.run(name, "apply", async () => {
      const { machine, record } = this.#running(name);
      const { pending } = this.#state(record);
      if (pending === null) throw nothingPending(name);
      clearTimeout(this.#timers.get(name));
      this.#timers.delete(name);
      await this.#takeBack(machine, record, pending);
    });
  }

  #running(name: string): { readonly machine: ManagedMachine; readonly record: MachineRecord } {
    const record = this.#manager.record(name);
    requireManaged(record);
    const machine = this.#manager.managed(name);
    if (machine?.record === undefined) throw new BerthError(`machine ${name} does not run`, { kind: "NoSuchMachine" });
    return { machine, record: machine.record };
  }

  #state(record: MachineRecord): ApplyState {
    return readApply(record.name, record.leader.startTime, this.#manager.paths);
  }

  /** How to take it back is written down before anything is done: whatever ends this daemon, the next one can. */
  async #make(
    machine: ManagedMachine,
    record: MachineRecord,
    { bind, unbind, policy, requests }: Differences,
    within: number | null,
  ): Promise<number | null> {
    const { paths } = this.#manager;
    const bound = bind.map(asApplied);
    const state = this.#state(record);
    const pending: Revert = {
      deadline: monotonic() + (within ?? 0),
      ...{ bound, unbound: unbind },
      policy: policy === null ? null : (machine.policy ?? null),
      requests: requests === null ? null : record.requests,
    };
    const binds = [...state.binds.filter((each) => !unbind.includes(each)), ...bound];
    writeApply(record.name, { ...state, binds: [...state.binds, ...bound], pending }, paths);
    try {
      for (const each of unbind) await this.#unbind(record, each);
      for (const each of bound) await this.#bind(record, each);
      if (policy !== null) setPolicy(machine, policy);
      if (requests !== null) machine.boot?.record.update({ requests, killSignal: signalOf(requests.poweroff) });
    } catch (error) {
      await this.#takeBack(machine, record, pending);
      throw error;
    }
    writeApply(record.name, { ...state, binds, pending: within === null ? null : pending }, paths);
    if (within === null) return null;
    this.#wait(record.name, pending);
    return pending.deadline;
  }

  #wait(name: string, { deadline }: Revert): void {
    clearTimeout(this.#timers.get(name));
    const timer = setTimeout(() => this.#late(name), Math.min(Math.max(0, deadline - monotonic()), TIMER_MAX));
    this.#timers.set(name, timer);
  }

  /** Nobody has confirmed. Of a machine that has ended meanwhile, or booted anew, nothing is to be taken back. */
  #late(name: string): void {
    this.#timers.delete(name);
    const machine = this.#manager.managed(name);
    const record = machine?.record;
    if (machine === undefined || record === undefined) return;
    const { pending } = this.#state(record);
    if (pending === null) return;
    // Another one by now, or node was a moment too early.
    if (pending.deadline > monotonic()) {
      this.#wait(name, pending);
      return;
    }
    this.revert(name)
      .then(() => this.#log("warn", name, "what was applied to it is taken back: nobody has confirmed it"))
      .catch((error: Error) => {
        if (error instanceof BerthError && error.kind === "Busy")
          this.#wait(name, { ...pending, deadline: monotonic() + AGAIN_MS });
        else this.#log("error", name, `what was applied to it could not be taken back: ${error.message}`);
      });
  }

  async #takeBack(machine: ManagedMachine, record: MachineRecord, pending: Revert): Promise<void> {
    const failures: string[] = [];
    const attempt = async (work: Promise<void>): Promise<void> => {
      try {
        await work;
      } catch (error) {
        failures.push((error as Error).message);
      }
    };
    const state = this.#state(record);
    for (const each of pending.bound) if (this.#isBound(record, each)) await attempt(this.#unbind(record, each));
    for (const each of pending.unbound) if (!this.#isBound(record, each)) await attempt(this.#bind(record, each));
    if (pending.policy !== null) setPolicy(machine, pending.policy as MachinePolicy);
    if (pending.requests !== null) {
      const { requests } = pending;
      machine.boot?.record.update({ requests, killSignal: signalOf(requests.poweroff) });
    }
    const isGone = (each: AppliedBind): boolean => pending.bound.some(({ target }) => target === each.target);
    const back = pending.unbound.filter(({ target }) => !state.binds.some((each) => each.target === target));
    writeApply(
      record.name,
      { ...state, binds: [...state.binds.filter((each) => !isGone(each)), ...back], pending: null },
      this.#manager.paths,
    );
    if (failures.length > 0) throw new BerthError(failures.join("; "));
  }

  #isBound({ name, leader }: MachineRecord, { source, target }: AppliedBind): boolean {
    return boundIn(name, leader.startTime, this.#manager.paths).some(
      (mount) => mount.source === source && mount.target === target,
    );
  }

  #bind(record: MachineRecord, { source, target, readOnly, owners }: AppliedBind): Promise<void> {
    const { signal } = new AbortController();
    return bindInto(record, source, target, { readOnly, owners, mkdir: true, signal }, this.#manager.paths);
  }

  #unbind(record: MachineRecord, { target }: AppliedBind): Promise<void> {
    return unbindFrom(record, target, { signal: new AbortController().signal }, this.#manager.paths);
  }
}

/** Of the boot that runs, whoever manages it, and of those that follow. */
function setPolicy(machine: ManagedMachine, policy: MachinePolicy): void {
  machine.policy = policy;
  machine.boot?.record.update({ policy });
}

/** ms: while something else is done with the machine. */
const AGAIN_MS = 500;

function show({ bind, unbind, policy, requests, restart, outside }: Differences): readonly ShownDifference[] {
  const live = (what: string, source: string | null = null): ShownDifference => ({ kind: "live", what, source });
  return [
    ...bind.map((each) => live(showBind(each), placeOf(each))),
    ...unbind.map((each) => live(`no more: ${showBind(each)}`)),
    ...(policy === null ? [] : [live("what berthd does with it over its boots, [Machine]")]),
    ...(requests === null ? [] : [live("how it is asked to power off, KillSignal=")]),
    ...restart.map(({ what, source }): ShownDifference => ({ kind: "restart", what, source })),
    ...outside.map((what): ShownDifference => ({ kind: "outside", what, source: null })),
  ];
}

function asApplied({ source, target, readOnly, owners }: SettingsBind): AppliedBind {
  // Others are none that can be made live (live-differences.ts).
  return { source, target, readOnly, owners: owners === "owneridmap" ? "noidmap" : owners };
}

function signalOf(request: MachineRecord["requests"]["poweroff"]): number | null {
  return "signal" in request ? request.signal : null;
}

function nothingPending(name: string): BerthError {
  return new BerthError(`nothing that was applied to machine ${name} waits to be confirmed`, { kind: "InvalidArgs" });
}

function waits(name: string, { deadline }: Revert): BerthError {
  const seconds = Math.max(0, Math.ceil((deadline - monotonic()) / 1000));
  return new BerthError(`what was applied to machine ${name} before waits to be confirmed, ${seconds} s more`, {
    kind: "Busy",
    hint: `berth apply ${name} --confirm, or --revert`,
  });
}
