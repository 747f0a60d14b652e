import { readFileSync } from "node:fs";
import { uptime } from "node:os";
import type { MachineRecord } from "../machine/record.ts";

/** A machine as org.freedesktop.machine1 shows it. */
export interface BusMachine {
  readonly name: string;
  readonly class: "container" | "vm" | "host";
  readonly service: string;
  readonly unit: string;
  /** 0: not known. */
  readonly leader: number;
  /** 16 bytes; none: it has no id. */
  readonly id: Buffer;
  readonly root: string;
  /** Indices of network links on the host. */
  readonly links: readonly number[];
  /** us since the epoch, and on CLOCK_MONOTONIC; 0: not known. */
  readonly since: bigint;
  readonly sinceMonotonic: bigint;
  readonly state: "opening" | "running" | "closing";
  /** Null: it is the host, somebody else's, or its record can't be read. */
  readonly record: MachineRecord | null;
  /** Somebody else's, who has told of it. */
  readonly foreign: boolean;
  readonly contact: Contact;
}

/** How a virtual machine of somebody else's is reached. */
export interface Contact {
  /** VMADDR_CID_ANY: it is not. */
  readonly cid: number;
  /** For ssh(1); empty: it is not known. */
  readonly sshAddress: string;
  readonly sshKeyPath: string;
}

export const NO_CONTACT: Contact = { cid: 0xffff_ffff, sshAddress: "", sshKeyPath: "" };

/** Of what nobody else has told of, and no record of a machine's. */
const OURS = { record: null, links: [], foreign: false, contact: NO_CONTACT } as const;

export const HOST_NAME = ".host";

const STATES = { starting: "opening", running: "running", stopping: "closing", rebooting: "closing" } as const;

export function machineOf(record: MachineRecord): BusMachine {
  const { began, executed, executedMonotonic } = record.times;
  return {
    name: record.name,
    class: "container",
    service: "berth",
    // Where systemd does not run there is none, and the subset of it that we are has this one.
    unit: record.unit ?? `berth@${record.name}.service`,
    leader: record.leader.pid,
    id: Buffer.from(record.machineId, "hex"),
    root: record.root,
    since: microseconds(began),
    sinceMonotonic: microseconds(executedMonotonic - (executed - began)),
    state: STATES[record.state],
    ...OURS,
    record,
  };
}

/** One that runs, and of which nothing more can be told. */
export function unknownMachine(name: string): BusMachine {
  return {
    ...{ name, class: "container", service: "berth", unit: "", leader: 0, id: Buffer.alloc(0), root: "" },
    ...{ since: 0n, sinceMonotonic: 0n, state: "running", ...OURS },
  };
}

/** When the host was booted, as the clock had it when that was first asked for: the property tells of no change. */
let boot: bigint | undefined;

export function theHost(): BusMachine {
  boot ??= microseconds(Date.now() - uptime() * 1000);
  return {
    ...{ name: HOST_NAME, class: "host", service: "", unit: "-.slice", leader: 1, id: hostId(), root: "/" },
    ...{
      since: boot,
      sinceMonotonic: 0n,
      state: "running",
      ...OURS,
    },
  };
}

function hostId(): Buffer {
  try {
    return Buffer.from(readFileSync("/etc/machine-id", "latin1").trim(), "hex");
  } catch {
    return Buffer.alloc(0);
  }
}

function microseconds(ms: number): bigint {
  return BigInt(Math.round(ms * 1000));
}
