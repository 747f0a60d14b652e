import { fstatSync } from "node:fs";
import { DBusError } from "../bus/dbus-error.ts";
import { errorCode } from "../errors.ts";
import { checkName } from "../spec/name.ts";
import { closeQuietly, duplicate } from "../sys/files.ts";
import { type Unwatch, watch } from "../sys/poll.ts";
import { pidfdOpen, pidfdSendSignal, pidOf } from "../sys/processes.ts";
import { invalid } from "./access.ts";
import { type BusMachine, type Contact, NO_CONTACT } from "./bus-machine.ts";
import { MACHINE1 } from "./places.ts";

/** What a manager of machines of its own tells of one. */
export interface Registration {
  readonly name: string;
  /** 16 bytes, or none. */
  readonly id: Buffer;
  readonly service: string;
  readonly class: string;
  readonly leader: number;
  /** Of the leader, and the caller's to close: it tells more surely than the number. */
  readonly pidfd?: number;
  /** What the kernel calls the leader and no other process, as long as the host is up: the inode of its pidfds. */
  readonly pidfdId?: bigint;
  readonly root: string;
  /** Of network links on the host. */
  readonly links: readonly number[];
  /** Of a virtual machine: how it is reached. */
  readonly contact?: Contact;
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
    const { name } = registration;
    const leader = registration.pidfd === undefined ? registration.leader : leaderOf(registration.pidfd);
    const machine = machineOf({ ...registration, leader });
    const pidfd = holdLeader(leader, registration);
    const unwatch = watch(pidfd, { readable: true }, () => this.remove(name));
    this.#entries.set(name, { machine, pidfd, unwatch });
    this.#onChange(name, true);
  }

  /** @throws DBusError InvalidArgs when what is told of it is wrong in itself */
  check(registration: Registration): void {
    machineOf(registration);
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

function machineOf(registration: Registration): BusMachine {
  const { name, id, service, class: what, leader, root, links, contact = NO_CONTACT } = registration;
  if (checkName(name) !== undefined) throw invalid("Invalid machine name");
  if (id.length !== 0 && id.length !== 16) throw invalid("Invalid machine ID parameter");
  if (what !== "container" && what !== "vm" && what !== "") throw invalid("Invalid machine class parameter");
  if (root !== "" && !root.startsWith("/")) throw invalid("Root directory must be empty or an absolute path");
  if (links.some((link) => link <= 0)) throw invalid("Invalid network interface index");
  return {
    ...{ name, id, service, class: what === "" ? "container" : what, unit: "", leader, root, links },
    ...{ since: BigInt(Date.now()) * 1000n, sinceMonotonic: process.hrtime.bigint() / 1000n },
    ...{ state: "running", record: null, foreign: true, contact },
  };
}

/** Whose pidfd it is. */
function leaderOf(pidfd: number): number {
  const pid = isPidfd(pidfd) ? pidOf(pidfd) : null;
  if (pid === null) throw invalid("LeaderPIDFD is no pidfd of a process that runs");
  return pid;
}

function isPidfd(fd: number): boolean {
  try {
    pidfdSendSignal(fd, 0);
    return true;
  } catch {
    return false;
  }
}

/** A pidfd of our own. */
function holdLeader(leader: number, { pidfd, pidfdId }: Registration): number {
  if (leader === 1) throw invalid("Invalid leader PID");
  const held = pidfd === undefined ? openProcess(leader) : duplicate(pidfd);
  // The number may be another's by now: then the process that was meant has ended.
  if (pidfdId === undefined || idOf(held) === pidfdId) return held;
  closeQuietly(held);
  throw invalid(`Process ${leader} is not the one that was meant`);
}

function openProcess(pid: number): number {
  try {
    return pidfdOpen(pid);
  } catch (error) {
    if (errorCode(error) === "ESRCH" || errorCode(error) === "EINVAL")
      throw new DBusError("UnixProcessIdUnknown", `There is no process ${pid}`);
    throw error;
  }
}

/** Before Linux 6.9 all pidfds have one inode, and nobody would tell of it. */
function idOf(pidfd: number): bigint {
  return fstatSync(pidfd, { bigint: true }).ino;
}
