import { chmodSync } from "node:fs";
import { ACLS, CAPABILITIES, mappedAcl, moveCapabilities, SET_ID_BITS } from "../exec/move-owner.ts";
import { type FileTimes, setTimes } from "../sys/entries.ts";
import { changeOwner, getAttribute, listAttributes, setAttribute } from "../sys/owners.ts";
import type { IdRange } from "./protocol.ts";
import { type Entry, idMapper } from "./side.ts";

/** What a file has besides its content, as it is to be on the other side. */
export interface Attributes {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly times: FileTimes;
  readonly extended: readonly (readonly [name: string, value: Buffer])[];
}

/** Overlays keep their own notes under these names. */
const OVERLAY = "user.overlay.";

export class AttributeReader {
  readonly #map: (id: number) => number;
  readonly #range: IdRange | null;
  readonly #direction: "to" | "from";

  constructor(range: IdRange | null, direction: "to" | "from") {
    this.#map = idMapper(range, direction);
    this.#range = range;
    this.#direction = direction;
  }

  /** Of an entry that is open on the side it comes from. */
  read({ fd, stat, uid, gid }: Entry): Attributes {
    const names = stat.isSymbolicLink() ? [] : listAttributes(fd);
    return {
      uid: this.#map(uid),
      gid: this.#map(gid),
      mode: this.#modeOf(stat),
      times: { atimeNs: stat.atimeNs, mtimeNs: stat.mtimeNs },
      extended: names.flatMap((name) => this.#extended(fd, name)),
    };
  }

  /** A program that a machine has made would run with the rights of a user of the host: so it loses what gives them. */
  #modeOf(stat: Entry["stat"]): number {
    const mode = Number(stat.mode) & 0o7777;
    return this.#direction === "from" && !stat.isDirectory() ? mode & ~SET_ID_BITS : mode;
  }

  #extended(fd: number, name: string): (readonly [string, Buffer])[] {
    const value = this.#isKept(name) ? getAttribute(fd, name) : null;
    if (value === null) return [];
    if (ACLS.includes(name)) return [[name, mappedAcl(value, this.#map)]];
    return [[name, name === CAPABILITIES ? moveCapabilities(value, this.#range?.base ?? 0) : value]];
  }

  #isKept(name: string): boolean {
    if (name === CAPABILITIES) return this.#direction === "to";
    // Names that are no text can't be set again as they were.
    return ACLS.includes(name) || (/^user\.[ -~]+$/.test(name) && !name.startsWith(OVERLAY));
  }
}

/** To a file or directory that is open. False: its file system can't have some of the extended ones. */
export function setAttributes(fd: number, { uid, gid, mode, times, extended }: Attributes): boolean {
  changeOwner(fd, uid, gid);
  // After the owner, whose change takes set-user-ID bits and capabilities; before the ACL, whose mask it would change.
  chmodSync(`/proc/self/fd/${fd}`, mode);
  const kept = extended.map(([name, value]) => setAttribute(fd, name, value));
  setTimes(fd, times);
  return kept.every(Boolean);
}
