import { readFileSync } from "node:fs";
import { relative } from "node:path";
import { DBusError } from "../bus/dbus-error.ts";
import { BerthError } from "../errors.ts";
import { parseMemberships } from "../host/cgroups.ts";
import type { MachineView } from "../manager/machine-view.ts";
import type { MachineEvent, Manager } from "../manager/manager.ts";
import { checkName } from "../spec/name.ts";
import { type BusMachine, HOST_NAME, machineOf, theHost, unknownMachine } from "./bus-machine.ts";
import { MACHINE1 } from "./places.ts";
import { RegisteredMachines } from "./registered.ts";

export const NO_MACHINE = `${MACHINE1}.NoMachineForPID`;

/** Of pid_t. */
const PID_MAX = 2 ** 31 - 1;

interface Listener {
  onNew(name: string): void;
  onRemoved(name: string): void;
}

/** The machines that the bus has: those that run, and the host. One that reboots goes, and comes again. */
export class Machines {
  readonly registered = new RegisteredMachines();
  readonly #manager: Manager;
  /** Leaders by name, as they were told last. */
  readonly #shown = new Map<string, number>();
  readonly #listeners: Listener[] = [];

  constructor(manager: Manager) {
    this.#manager = manager;
    for (const view of manager.list()) if (isShown(view)) this.#shown.set(view.name, view.leader ?? 0);
    manager.on("machine", (event) => this.#look(event));
    this.registered.onChange = (name, there) => {
      for (const { onNew, onRemoved } of this.#listeners) (there ? onNew : onRemoved)(name);
    };
  }

  /** Tells of those that come and go from now on. */
  watch(listener: Listener): void {
    this.#listeners.push(listener);
  }

  list(): readonly BusMachine[] {
    const names = this.#manager
      .list()
      .filter(isShown)
      .map(({ name }) => name);
    const others = this.registered.list().filter(({ name }) => !names.includes(name));
    return [theHost(), ...names.flatMap((name) => this.find(name) ?? []), ...others];
  }

  names(): readonly string[] {
    return this.list().map(({ name }) => name);
  }

  find(name: string): BusMachine | undefined {
    if (name === HOST_NAME) return theHost();
    if (checkName(name) !== undefined) return undefined;
    try {
      const record = this.#manager.record(name);
      return record.state === "rebooting" ? undefined : machineOf(record);
    } catch (error) {
      if (!(error instanceof BerthError)) throw error;
      return this.#manager.list().some((view) => view.name === name && view.state === "unknown")
        ? unknownMachine(name)
        : this.registered.find(name);
    }
  }

  /** Whether `find` finds the same, and nothing of it has changed; false too where to find out takes as long. */
  isCurrent({ class: what, name, record }: BusMachine): boolean {
    return what === "host" || (record !== null && this.#manager.managed(name)?.record === record);
  }

  /** @throws DBusError NoSuchMachine, in machined's words */
  get(name: string): BusMachine {
    const machine = this.find(name);
    if (machine !== undefined) return machine;
    throw new DBusError(`${MACHINE1}.NoSuchMachine`, `No machine '${name}' known`);
  }

  /** Whose cgroup the process is in. */
  byPid(pid: number): BusMachine {
    if (pid > PID_MAX) throw new DBusError("InvalidArgs", `${pid} is no number of a process`);
    const cgroup = cgroupOf(pid);
    const found = this.list().find(({ record, foreign, leader }) =>
      record === null ? foreign && leader === pid : isBelow(cgroup, record.cgroup, record.cgroupMount),
    );
    if (found !== undefined) return found;
    throw new DBusError(NO_MACHINE, `PID ${pid} does not belong to any known machine`);
  }

  #look({ machine, view }: MachineEvent): void {
    const before = this.#shown.get(machine);
    const now = view !== null && isShown(view) ? (view.leader ?? 0) : undefined;
    if (before === now) return;
    if (before !== undefined) {
      this.#shown.delete(machine);
      for (const { onRemoved } of this.#listeners) onRemoved(machine);
    }
    if (now === undefined) return;
    this.#shown.set(machine, now);
    for (const { onNew } of this.#listeners) onNew(machine);
  }
}

function isShown({ state, leader }: MachineView): boolean {
  return state === "unknown" || (leader !== null && state !== "stopped" && state !== "failed");
}

function cgroupOf(pid: number): string | undefined {
  try {
    const memberships = parseMemberships(readFileSync(`/proc/${pid}/cgroup`, "utf8"));
    return memberships.find(({ hierarchy }) => hierarchy === 0)?.path;
  } catch {
    return undefined; // it has ended, and is in no machine
  }
}

function isBelow(path: string | undefined, cgroup: string, mount: string): boolean {
  const own = `/${relative(mount, cgroup)}`;
  return path === own || path?.startsWith(`${own}/`) === true;
}
