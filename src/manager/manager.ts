import { EventEmitter, once } from "node:events";
import { existsSync } from "node:fs";
import { BerthError } from "../errors.ts";
import { listTrees } from "../host/list-trees.ts";
import type { Paths } from "../host/paths.ts";
import { findTree, treeOf } from "../host/tree-place.ts";
import { isHalfRolledBack } from "../image/snapshots/places.ts";
import { askInit } from "../machine/ask-init.ts";
import { findAnyMachine, findMachine } from "../machine/find-machine.ts";
import { freeze, isFrozen } from "../machine/freeze.ts";
import { archiveBoot, forgetHistory } from "../machine/history.ts";
import type { JoinOptions } from "../machine/join.ts";
import { noSuchMachine } from "../machine/known-machines.ts";
import { lookUp, type MachineRecord, type UnknownMachine } from "../machine/record.ts";
import { setProperties } from "../machine/set-property.ts";
import { killMachine, killUnknown, stopSupervisor, whenEnded } from "../machine/signal-machine.ts";
import { refuseHeld, releaseStill } from "../machine/still.ts";
import { sweepMachine } from "../machine/sweep.ts";
import { treeName } from "../machine/throw-away.ts";
import { requireName } from "../spec/name.ts";
import { closeQuietly, duplicate } from "../sys/files.ts";
import { adoptMachines } from "./adopt.ts";
import { announce } from "./announce.ts";
import { endInTime } from "./end-in-time.ts";
import { ExecSession } from "./exec-session.ts";
import { ForeignMachines } from "./foreign.ts";
import { Launcher } from "./launcher.ts";
import { detailsOf, type MachineDetails, type Reader } from "./machine-details.ts";
import { isBetween, noTree } from "./machine-errors.ts";
import { type MachineView, viewOfRecord, viewOfStopped, viewOfUnknown, viewOfWaiting } from "./machine-view.ts";
import { ManagedMachine } from "./managed-machine.ts";
import { Operations } from "./operations.ts";
import { orGiveUp } from "./or-give-up.ts";
import { DEFAULT_POLICY } from "./policy.ts";
import { powerOffWithin } from "./power-off.ts";
import type { WaitState } from "./protocol.ts";
import { Publisher } from "./published.ts";
import { type SavedState, StateFiles } from "./state-file.ts";
import type { Level, Surroundings } from "./surroundings.ts";
import type { StartCaller } from "./when-ready.ts";

/** What has become of a machine: `view` as it is now. */
export interface MachineEvent {
  readonly type: "new" | "changed" | "removed";
  readonly machine: string;
  /** Null: it is gone. */
  readonly view: MachineView | null;
}

interface Events {
  machine: [MachineEvent];
}

export interface ManagerOptions {
  readonly paths: Paths;
  readonly bootId: string;
  /** `machine`: null is the daemon itself. */
  readonly log: (level: Level, machine: string | null, line: string) => void;
}

/** All machines of one root: those it manages, and those that a `berth run` has in the foreground. */
export class Manager extends EventEmitter<Events> {
  readonly paths: Paths;
  readonly operations = new Operations();
  readonly #machines = new Map<string, ManagedMachine>();
  readonly #foreign: ForeignMachines;
  readonly #with: Surroundings;
  readonly #publisher: Publisher;
  /** As it was told last, as JSON. */
  readonly #shown = new Map<string, string>();

  constructor(options: ManagerOptions) {
    super();
    this.setMaxListeners(0);
    this.paths = options.paths;
    this.#publisher = new Publisher(this.paths, () =>
      [...this.#shown].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text),
    );
    this.#foreign = new ForeignMachines(
      this.paths,
      (name) => this.#machines.get(name)?.alive === true,
      () => this.#lookAtForeign(),
    );
    this.#with = {
      paths: this.paths,
      launcher: new Launcher(this.paths),
      files: new StateFiles(this.paths),
      operations: this.operations,
      bootId: options.bootId,
      log: options.log,
      onChange: (machine) => this.#tell(machine),
    };
  }

  /** Takes over what runs, goes on with what was interrupted, and cleans up after the rest. */
  async open(): Promise<void> {
    await releaseStill(this.paths, (name) =>
      this.#with.log("warn", name, "was held still for a snapshot, and goes on"),
    );
    await adoptMachines(this.#with, (name, state) => this.#make(name, state));
    for (const name of [...this.#machines.keys()]) this.#tell(name); // what failed under an earlier daemon, too
    this.#foreign.open();
    this.#lookAtForeign();
    this.#publisher.write();
  }

  /** Machines go on running. */
  async close(): Promise<void> {
    this.#publisher.close();
    this.#foreign.close();
    await this.#with.launcher.close();
  }

  /** Those that it manages. @throws what the first failure says, when all have been tried */
  async powerOffAll(timeout: number | null): Promise<void> {
    const alive = [...this.#machines.values()].filter((machine) => machine.alive);
    const ends = await Promise.allSettled(alive.map((machine) => machine.powerOff(timeout)));
    const failure = ends.find((end) => end.status === "rejected");
    if (failure !== undefined) throw failure.reason;
  }

  // ---- looking ----

  /** By name: what runs or has failed, and with `all` what could. */
  list(all = false): readonly MachineView[] {
    const views = new Map<string, MachineView>();
    for (const record of this.#foreign.list()) views.set(record.name, viewOf(record));
    for (const machine of this.#machines.values()) {
      const view = this.#viewOf(machine);
      if (machine.alive || (view.state === "failed" && !views.has(machine.name))) views.set(machine.name, view);
    }
    if (all)
      for (const name of listTrees(this.paths.machines))
        if (!views.has(name)) views.set(name, viewOfStopped(name, treeOf(this.paths.machines, name), null));
    return [...views.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** @throws BerthError of kind NoSuchMachine */
  view(name: string): MachineView {
    requireName(name);
    return this.#look(name) ?? viewOf(findAnyMachine(name, this.paths));
  }

  /** What runs or has failed. */
  #look(name: string): MachineView | undefined {
    const machine = this.#machines.get(name);
    if (machine?.alive === true) return this.#viewOf(machine);
    const found = lookUp(name, this.paths);
    if (found !== null) return viewOf(found);
    return machine?.failure ? this.#viewOf(machine) : undefined;
  }

  /** All that is known of a machine, whether it runs or not. @throws BerthError of kind NoSuchMachine */
  details(name: string, reader: Reader): MachineDetails {
    requireName(name);
    const machine = this.#machines.get(name);
    const tree = treeOf(this.paths.machines, name);
    const isIdle = !machine?.alive && !machine?.failure && lookUp(name, this.paths) === null;
    if (isIdle && !existsSync(tree)) throw noSuchMachine(name, this.paths);
    const view = isIdle ? viewOfStopped(name, tree, null) : this.view(name);
    return detailsOf(view, machine?.failure ?? null, reader, this.paths);
  }

  /** The machine's record, for what works on any machine that runs. @throws BerthError: see findMachine */
  record(name: string): MachineRecord {
    const machine = this.#machines.get(name);
    if (machine?.alive === true && machine.record === undefined) throw isBetween(name, machine.pending);
    return machine?.record ?? findMachine(name, this.paths);
  }

  /** One that this daemon manages and that runs. */
  managed(name: string): ManagedMachine | undefined {
    return this.#alive(name);
  }

  get count(): number {
    return this.#shown.size;
  }

  // ---- acting ----

  async start(name: string, caller: StartCaller): Promise<void> {
    requireName(name);
    if (this.#foreign.has(name)) throw new BerthError(`machine ${name} is running already`, { kind: "MachineExists" });
    this.requireTree(treeName(name, this.paths));
    if (isHalfRolledBack(this.paths, name))
      await (await import("../image/snapshots/half-rollback.ts")).finishRollback(this.paths, name);
    await this.#make(name).start(caller);
  }

  /** @throws BerthError of kind NoSuchMachine */
  requireTree(name: string): void {
    requireName(name);
    if (findTree(this.paths.machines, name) === null) throw noTree(name, this.paths);
  }

  /** Resolves when it has ended; without `wait` when its init has been asked. */
  async powerOff(name: string, wait: boolean, timeout: number | null): Promise<void> {
    const machine = this.#alive(name);
    if (machine !== undefined) return wait ? machine.powerOff(timeout) : machine.askPowerOff();
    const found = findAnyMachine(name, this.paths);
    const record = found.state === "rebooting" ? found : findMachine(name, this.paths);
    const ask = (): Promise<void> =>
      record.state === "rebooting" ? stopSupervisor(record) : askInit(record, "poweroff", this.paths);
    if (!wait) return ask();
    // Settings of [Machine] are not for a `berth run`.
    await powerOffWithin(timeout ?? DEFAULT_POLICY.stopTimeout, {
      name,
      ask,
      ended: () => whenEnded(record),
      kill: () => killMachine(record),
    });
  }

  async reboot(name: string): Promise<void> {
    const machine = this.#alive(name);
    if (machine !== undefined) return machine.reboot();
    await askInit(findMachine(name, this.paths), "reboot", this.paths);
  }

  async terminate(name: string): Promise<void> {
    const machine = this.#alive(name);
    if (machine !== undefined) return machine.terminate();
    const found = findAnyMachine(name, this.paths);
    if (found.state === "unknown") await killUnknown(found, this.paths);
    else await endInTime(name, killMachine(found), found.cgroup);
    // Where nobody supervised it, nobody else does this.
    sweepMachine(name, this.paths, { onRelease: (record) => archiveBoot(record, name, this.paths) });
  }

  /** Its failure and its earlier boots, of which nobody wants to know any more: its image was removed, or has another name. */
  async forget(name: string): Promise<void> {
    requireName(name);
    const machine = this.#machines.get(name);
    if (machine?.pending) await machine.terminate(); // it is not to boot again
    if (machine?.alive === true) return;
    forgetHistory(name, this.paths);
    if (machine === undefined) return;
    machine.forgetFailure();
    this.#tell(name);
  }

  async pause(name: string, frozen: boolean): Promise<void> {
    const record = this.record(name);
    await this.operations.run(name, frozen ? "pause" : "resume", () => {
      refuseHeld(record, this.paths);
      return freeze(record, frozen);
    });
    if (this.#machines.has(name)) this.#tell(name);
    else this.#lookAtForeign();
  }

  /** Resource controls of a machine that runs, as systemctl set-property has them: `MemoryMax=1G`. */
  async setProperties(name: string, properties: readonly string[]): Promise<void> {
    const record = this.record(name);
    await this.operations.run(name, "set-property", () => setProperties(record, properties));
  }

  /** Resolves when the machine is in that state, at once if it is already. */
  async wait(name: string, state: WaitState, signal: AbortSignal): Promise<void> {
    requireName(name);
    const is = (): boolean => {
      const view = this.#look(name);
      if (state === "stopped") return view === undefined || view.state === "failed";
      if (state === "running") return view?.ready === true && view.state === "running";
      return view?.state === state;
    };
    const aborted = (): never => {
      throw signal.reason;
    };
    while (!is()) await once(this, "machine", { signal }).catch(aborted);
  }

  /** A command in a machine that runs, still to be run. Takes over the fds. */
  exec(name: string, options: JoinOptions): ExecSession {
    const giveUp = (): void => {
      for (const fd of options.fds.values()) closeQuietly(fd);
    };
    const machine = orGiveUp(() => this.record(name), giveUp);
    const { commandStages: stages } = this.#with.launcher;
    const leader = this.#machines.get(name)?.boot?.leader;
    const held = leader === undefined ? [] : [["machine", orGiveUp(() => duplicate(leader), giveUp)] as const];
    const fds = new Map([...options.fds, ...held]);
    return new ExecSession(machine, { ...options, fds, spare: stages.take() }, this.paths, () => stages.refill());
  }

  // ---- inside ----

  #make(name: string, state?: SavedState): ManagedMachine {
    const machine = this.#machines.get(name) ?? new ManagedMachine(name, this.#with, state);
    this.#machines.set(name, machine);
    return machine;
  }

  #alive(name: string): ManagedMachine | undefined {
    requireName(name);
    const machine = this.#machines.get(name);
    return machine?.alive === true ? machine : undefined;
  }

  #viewOf(machine: ManagedMachine): MachineView {
    const { name, record, restarts } = machine;
    if (record !== undefined) return viewOfRecord(record, isFrozen(record), restarts);
    const stopped = viewOfStopped(name, treeOf(this.paths.machines, name), machine.failure, restarts);
    return machine.alive ? viewOfWaiting(stopped, machine.stopping, machine.pending) : stopped;
  }

  #lookAtForeign(): void {
    const foreign = this.#foreign.list();
    this.#foreign.follow(foreign);
    const found = new Map(foreign.map((record) => [record.name, viewOf(record)]));
    for (const [name, view] of found) this.#show(name, view);
    for (const name of this.#shown.keys())
      if (!found.has(name)) {
        const machine = this.#machines.get(name);
        if (machine === undefined) this.#show(name, null);
        else if (!machine.alive) this.#tell(name); // that one has failed was hidden by the other of its name
      }
  }

  #tell(name: string): void {
    const machine = this.#machines.get(name);
    if (machine === undefined) return;
    const view = this.#viewOf(machine);
    this.#show(name, view.state === "stopped" ? null : view);
    if (view.state !== "stopped") return;
    this.#machines.delete(name);
    this.#foreign.lookSoon(); // for one that was hidden by it
  }

  #show(machine: string, view: MachineView | null): void {
    const before = this.#shown.get(machine);
    const after = view === null ? undefined : JSON.stringify(view);
    if (before === after) return;
    if (after === undefined) this.#shown.delete(machine);
    else this.#shown.set(machine, after);
    const type = before === undefined ? "new" : after === undefined ? "removed" : "changed";
    this.#publisher.touch();
    announce(this, { type, machine, view }, (line) => this.#with.log("error", machine, line));
  }
}

function viewOf(machine: MachineRecord | UnknownMachine): MachineView {
  return machine.state === "unknown" ? viewOfUnknown(machine) : viewOfRecord(machine, isFrozen(machine));
}
