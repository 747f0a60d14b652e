import { DBusError } from "../bus/dbus-error.ts";
import { errorCode } from "../errors.ts";
import { checkName } from "../spec/name.ts";
import { closeQuietly } from "../sys/files.ts";
import { type Unwatch, watch } from "../sys/poll.ts";
import { pidfdOpen, pidfdSendSignal } from "../sys/processes.ts";
import { invalid } from "./access.ts";
import type { BusMachine } from "./bus-machine.ts";
import { MACHINE1 } from "./places.ts";

/** What a manager of machines of its own tells of one. */
export interface Registration {
  readonly name: string;
  /** 16 bytes, or none. */
  readonly id: Buffer;
  readonly service: string;
  readonly class: string;
  readonly leader: number;
  readonly root: string;
  /** Of network links on the host. */
  readonly links: readonly number[];
}

interface Entry {
  readonly machine: BusMachine;
  readonly pidfd: number;
  readonly unwatch: Unwatch;
}

/** Machines of others, as systemd-nspawn(1): there are as many as root tells of, and each is known until its leader ends. */
export class RegisteredMachines {
  readonly #entries = new Map<string, Entry>();
  #onChange: (name: string, there: boolean) => void = () => undefined;

  set onChange(listener: (name: string, there: boolean) => void) {
    this.#onChange = listener;
  }

  find(name: string): BusMachine | undefined {
    return this.#entries.get(name)?.machine;
  }

  list(): readonly BusMachine[] {
    return [...this.#entries.values()].map(({ machine }) => machine);
  }

  /** @throws DBusError when something of it can't be */
  add(registration: Registration): void {
    const { name, leader } = registration;
    const machine = machineOf(registration);
    const pidfd = openLeader(leader);
    const unwatch = watch(pidfd, { readable: true }, () => this.remove(name));
    this.#entries.set(name, { machine, pidfd, unwatch });
    this.#onChange(name, true);
  }

  /** Its leader goes on, if it has not ended. */
  remove(name: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    this.#entries.delete(name);
    entry.unwatch();
    closeQuietly(entry.pidfd);
    this.#onChange(name, false);
  }

  /** For its leader. @throws DBusError NoSuchMachine when it has just gone */
  signal(name: string, signal: number): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) throw new DBusError(`${MACHINE1}.NoSuchMachine`, `No machine '${name}' known`);
    pidfdSendSignal(entry.pidfd, signal);
  }

  close(): void {
    for (const { pidfd, unwatch } of this.#entries.values()) {
      unwatch();
      closeQuietly(pidfd);
    }
    this.#entries.clear();
  }
}

function machineOf({ name, id, service, class: what, leader, root, links }: Registration): BusMachine {
  if (checkName(name) !== undefined) throw invalid("Invalid machine name");
  if (id.length !== 0 && id.length !== 16) throw invalid("Invalid machine ID parameter");
  if (what !== "container" && what !== "vm" && what !== "") throw invalid("Invalid machine class parameter");
  if (root !== "" && !root.startsWith("/")) throw invalid("Root directory must be empty or an absolute path");
  if (links.some((link) => link <= 0)) throw invalid("Invalid network interface index");
  return {
    ...{ name, id, service, class: what === "" ? "container" : what, unit: "", leader, root, links },
    ...{ since: BigInt(Date.now()) * 1000n, sinceMonotonic: process.hrtime.bigint() / 1000n },
    ...{ state: "running", record: null, foreign: true },
  };
}

function openLeader(pid: number): number {
  if (pid === 1) throw invalid("Invalid leader PID");
  try {
    return pidfdOpen(pid);
  } catch (error) {
    if (errorCode(error) === "ESRCH" || errorCode(error) === "EINVAL") throw invalid(`There is no process ${pid}`);
    throw error;
  }
}
