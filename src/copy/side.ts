import { type BigIntStats, fstatSync } from "node:fs";
import {
  type CapabilityName,
  dropGroups,
  forbidNewPrivileges,
  setFileOwner,
  setThreadCapabilities,
} from "../sys/rights.ts";
import type { IdRange } from "./protocol.ts";

/** What root may do to the files of everybody. */
const OVER_FILES: readonly CapabilityName[] = ["chown", "dacOverride", "dacReadSearch", "fowner", "fsetid", "setfcap"];
/** To change sides. */
const CHANGING: readonly CapabilityName[] = ["setgid", "setuid"];
const ALL = [...OVER_FILES, ...CHANGING];

const NOBODY = 65534;

/**
 * Whose files an operation is on, and so with which rights it is done: the host's with those of root; the machine's with
 * those that its root has. Those are root's over what belongs to the machine's ids and nobody's over anything else,
 * such as a directory of the host that is bound into it: as the kernel has it for whoever is in a user namespace
 * (capable_wrt_inode_uidgid). Asked of a file that is open, the answer stays true: root inside can't change which it is.
 */
export class Rights {
  readonly #range: IdRange | null;
  #now: "" | "host" | "own" | "foreign" = "";

  /** From here on this thread has no more than it takes to copy files. */
  constructor(range: IdRange | null) {
    this.#range = range;
    forbidNewPrivileges();
    dropGroups();
    setThreadCapabilities(ALL, ALL);
  }

  forHost(): void {
    if (this.#range === null) this.#be("own", 0);
    else this.#be("host", 0);
  }

  /** `over`: what the operation needs rights over. */
  forMachine(over: Owners): void {
    const own = this.isOwn(over);
    this.#be(own ? "own" : "foreign", this.#range?.base ?? 0);
  }

  /** Whether both owner and group are the machine's. */
  isOwn({ uid, gid }: Owners): boolean {
    const range = this.#range;
    if (range === null) return true;
    return [uid, gid].every((id) => id >= range.base && id < range.base + range.size);
  }

  #be(whose: "host" | "own" | "foreign", user: number): void {
    if (this.#now === whose) return;
    this.#now = whose;
    // First, since to become user 0 raises capabilities, and to become another one takes them.
    setThreadCapabilities(ALL, ALL);
    setFileOwner(user, user);
    setThreadCapabilities(whose === "foreign" ? CHANGING : ALL, ALL);
  }
}

export interface Owners {
  readonly uid: number;
  readonly gid: number;
}

/** Everything about a file that is open, with whose rights it is worked on. */
export interface Entry extends Owners {
  readonly fd: number;
  readonly stat: BigIntStats;
}

export function entryOf(fd: number): Entry {
  const stat = fstatSync(fd, { bigint: true });
  return { fd, stat, uid: Number(stat.uid), gid: Number(stat.gid) };
}

/** One of the two ends of a copy. */
export interface Side {
  readonly where: "host" | "machine";
  /** Before an operation on an entry, or on what is in that directory. */
  use(over: Owners): void;
  /** The path of this side's root, for messages. */
  describe(path: string): string;
}

export function sidesOf(rights: Rights, machine: string): { readonly host: Side; readonly inside: Side } {
  return {
    host: { where: "host", use: () => rights.forHost(), describe: (path) => `${path} on the host` },
    inside: {
      where: "machine",
      use: (over) => rights.forMachine(over),
      describe: (path) => `${path} in machine ${machine}`,
    },
  };
}

/** How ids on one side are told on the other: the same numbers inside and on the host; who is not known there is nobody. */
export function idMapper(range: IdRange | null, direction: "to" | "from"): (id: number) => number {
  if (range === null) return (id) => id;
  const { base, size } = range;
  if (direction === "from") return (id) => (id >= base && id < base + size ? id - base : NOBODY);
  const nobody = NOBODY < size ? base + NOBODY : base;
  return (id) => (id < size ? base + id : nobody);
}
