import { type BigIntStats, fstatSync } from "node:fs";
import { BerthError } from "../../errors.ts";
import { O_PATH, O_RDONLY } from "../../sys/constants.ts";
import { makeDirectory, openBelow } from "../../sys/entries.ts";
import { closeQuietly, O_DIRECTORY } from "../../sys/files.ts";
import { type SharedRows, StatTable } from "../../sys/stat-table.ts";
import { CopyDirectory, isDirectoryAt, namesIn, openDirectory, openIfThere } from "./directories.ts";
import { likeDirectory, putEntry, putLink, removeAll } from "./exact-copy.ts";

/** It is listed by calls that are nested as deep. */
const DEEPEST = 1000;
/** Each takes half a kilobyte. */
const NAMES_MAX = 1_000_000;

/** What is known of a name in the tree. */
interface Known {
  readonly row: number;
  /** Null of the tree itself. */
  readonly parent: KnownDirectory | null;
  /** Where it was a directory at the last look. */
  directory: KnownDirectory | null;
}

interface KnownDirectory {
  readonly parent: KnownDirectory | null;
  /** Open for reading, as long as it is known: whatever it is renamed to, it is the one whose entries are known. */
  readonly fd: number;
  readonly inode: string;
  /** By names, a character a byte (latin1). */
  readonly entries: Map<string, Known>;
}

/** What can't be followed, though it can be copied. */
export class TooLarge extends BerthError {}

/**
 * Makes the copy of a tree follow the tree. `look` comes first; then somebody copies it, by names and file by file, while it changes;
 * then `follow` finds what has changed since, by looking at every name, and copies that anew. What it misses nothing of is a tree that
 * nobody changes meanwhile.
 *
 * A file is taken for unchanged that has the inode, the times and all else that it had at the last look, and had been left alone before
 * that for longer than a clock's tick: the kernel notes the time of each change of content, attributes or links in `ctime`, which nobody
 * can set. Of what is written through a mapping it does when a page is first written to after it went to the disk: hence `since`, the
 * beginning of a sync(2) that was over before the look, and what has changed after it is looked upon as changed for ever.
 * As rename(2) is noted in what is renamed and in its directory, a directory that has not changed in one that has not
 * was at its place all the time, and so the files that were copied by way of it are its own.
 */
export class Follower {
  readonly #table = new StatTable();
  /** Whose row that is. */
  readonly #known: Known[] = [];
  readonly #from: number;
  readonly #to: () => number;
  readonly #most: number;
  readonly #give: (rows: SharedRows) => void;
  #root: Known | undefined;
  #directories = 0;
  #names = 0;
  #entries = 0;
  /** Copies, in this turn, of files with more names, by the inode that they are copies of. */
  readonly #linked = new Map<string, number>();
  /** Whether nobody changes the tree in this turn. */
  #isStill = false;
  /** Directories with something that was changed before this pass, however deep in them. */
  readonly #changedIn = new Set<KnownDirectory>();
  /** Whether, in this pass, files with more names were found changed whose other names may not be, as in a directory that was moved. */
  #hasFoundLinks = false;
  /** Whether somebody has copied by names since the last look. */
  #byNames = true;

  /** `from`, and what `to` gives when there is a copy: open directories. `most`: of directories that may be open. */
  constructor(from: number, to: () => number, most: number, give: (rows: SharedRows) => void) {
    this.#from = from;
    this.#to = to;
    this.#most = most;
    this.#give = give;
  }

  get turn(): Int32Array {
    return this.#table.turn;
  }

  /** @throws TooLarge */
  look(since: number): void {
    this.#root = this.#know(this.#table.add(this.#from, SELF), null);
    this.#root.directory = this.#list(openBelow(this.#from, SELF, O_RDONLY | O_DIRECTORY), null, 0);
    this.#settle(since);
  }

  /** Returns how many entries were copied. `since`: null for the last time. */
  follow(since: number | null): number {
    const root = this.#root;
    if (root === undefined || root.directory === null) throw new Error("there was no look");
    this.#entries = 0;
    this.#isStill = since === null;
    this.#table.lookAtAll(this.#give);
    this.#markLinked();
    let passes = 0;
    do this.#pass(root.row, root.directory);
    while (this.#hasFoundLinks && this.#markLinked() && ++passes < PASSES_MAX);
    this.#byNames = false;
    // Where names of one file keep turning up all that has changed is for the next time.
    if (since !== null && passes < PASSES_MAX) this.#settle(since);
    return this.#entries;
  }

  #pass(row: number, directory: KnownDirectory): void {
    this.#hasFoundLinks = false;
    this.#noteWhereChanged();
    try {
      using copy = new CopyDirectory(null, SELF, this.#to());
      this.#followDirectory(row, directory, copy, 0);
    } finally {
      for (const fd of this.#linked.values()) closeQuietly(fd);
      this.#linked.clear();
    }
  }

  #noteWhereChanged(): void {
    this.#changedIn.clear();
    for (const row of this.#table.changed()) {
      let directory = this.#known[row]?.parent ?? null;
      for (; directory !== null && !this.#changedIn.has(directory); directory = directory.parent)
        this.#changedIn.add(directory);
    }
  }

  /** All that is in it. */
  #list(fd: number, parent: KnownDirectory | null, depth: number): KnownDirectory {
    if (depth > DEEPEST) throw new TooLarge(`directories are nested more than ${DEEPEST} deep`);
    if (++this.#directories > this.#most) throw new TooLarge(`there are more than ${this.#most} directories`);
    const directory: KnownDirectory = { parent, fd, inode: inodeOf(fstatSync(fd, BIG)), entries: new Map() };
    for (const name of namesIn(fd)) this.#learn(directory, name, depth);
    return directory;
  }

  /** Of a name that nothing is known of. */
  #learn(parent: KnownDirectory, name: Buffer, depth: number): void {
    if (++this.#names > NAMES_MAX) throw new TooLarge(`there are more than ${NAMES_MAX} names`);
    const row = this.#table.add(parent.fd, name);
    if (this.#table.linked(row) !== null) this.#hasFoundLinks = true;
    const known = this.#know(row, parent);
    const fd = this.#table.isDirectory(row) ? openDirectory(parent.fd, name) : null;
    if (fd !== null) known.directory = this.#list(fd, parent, depth + 1);
    parent.entries.set(name.toString("latin1"), known);
  }

  #know(row: number, parent: KnownDirectory | null): Known {
    const known: Known = { row, parent, directory: null };
    this.#known[row] = known;
    return known;
  }

  #forget({ row, directory }: Known): void {
    this.#table.remove(row);
    this.#names--;
    this.#forgetDirectory(directory);
  }

  #forgetDirectory(directory: KnownDirectory | null): void {
    if (directory === null) return;
    for (const known of directory.entries.values()) this.#forget(known);
    closeQuietly(directory.fd);
    this.#directories--;
  }

  /** Makes a copy of it like it, which is like what is known of it. */
  #followDirectory(row: number, directory: KnownDirectory, copy: CopyDirectory, depth: number): void {
    const hasChanged = this.#table.isChanged(row);
    if (hasChanged) this.#followNames(directory, copy, depth);
    for (const [text, known] of directory.entries) {
      if (this.#table.isChanged(known.row)) this.#followEntry(directory, nameOf(text), known, copy, depth, hasChanged);
      else if (known.directory !== null && this.#changedIn.has(known.directory)) {
        using inner = new CopyDirectory(copy, nameOf(text));
        this.#followDirectory(known.row, known.directory, inner, depth + 1);
      }
    }
    // Also of one whose names alone were written anew: that changed its times.
    if (copy.isOpen && (hasChanged || this.#isTouched(directory))) likeDirectory(directory.fd, copy.fd);
    if (hasChanged) this.#entries++;
  }

  #isTouched({ entries }: KnownDirectory): boolean {
    for (const { row } of entries.values()) if (this.#table.isChanged(row)) return true;
    return false;
  }

  #followNames(directory: KnownDirectory, copy: CopyDirectory, depth: number): void {
    const { fd, entries } = directory;
    const names = new Map(namesIn(fd).map((name) => [name.toString("latin1"), name]));
    for (const [text, known] of entries) {
      if (names.has(text)) continue;
      this.#forget(known);
      entries.delete(text);
    }
    for (const name of namesIn(copy.fd)) if (!names.has(name.toString("latin1"))) removeAll(copy.fd, name);
    for (const [text, name] of names) if (!entries.has(text)) this.#learn(directory, name, depth);
  }

  #followEntry(
    parent: KnownDirectory,
    name: Buffer,
    known: Known,
    copy: CopyDirectory,
    depth: number,
    inChanged: boolean,
  ): void {
    const fd = openIfThere(parent.fd, name);
    if (fd === null) {
      // The next look finds that its directory has changed, and what comes back may not be what the copy has.
      this.#forgetDirectory(known.directory);
      known.directory = null;
      return;
    }
    try {
      const stat = fstatSync(fd, BIG);
      if (!stat.isDirectory()) {
        this.#forgetDirectory(known.directory);
        known.directory = null;
        this.#putEntry(fd, stat, name, copy);
        return;
      }
      const isKnown = known.directory?.inode === inodeOf(stat);
      // It may have been elsewhere for a while, and another one at its place.
      const mayBeAnothers = this.#byNames && inChanged;
      if (!isKnown) {
        this.#forgetDirectory(known.directory);
        known.directory = null;
        const opened = openDirectory(parent.fd, name);
        if (opened === null) return;
        known.directory = this.#list(opened, parent, depth + 1);
      }
      if (known.directory === null) return;
      if (!isKnown || mayBeAnothers || !isDirectoryAt(copy.fd, name)) {
        removeAll(copy.fd, name);
        makeDirectory(copy.fd, name, 0o700);
        this.#markAll(known);
      }
      using inner = new CopyDirectory(copy, name);
      this.#followDirectory(known.row, known.directory, inner, depth + 1);
    } finally {
      closeQuietly(fd);
    }
  }

  #putEntry(fd: number, stat: BigIntStats, name: Buffer, copy: CopyDirectory): void {
    this.#entries++;
    removeAll(copy.fd, name);
    const inode = stat.nlink > 1n ? inodeOf(stat) : null;
    const first = inode === null ? undefined : this.#linked.get(inode);
    if (first !== undefined && putLink(first, copy.fd, name)) return;
    putEntry(fd, stat, copy.fd, name, this.#isStill);
    if (inode !== null && first === undefined) this.#linked.set(inode, openBelow(copy.fd, name, O_PATH));
  }

  #markAll({ row, directory }: Known): void {
    this.#table.setChanged(row, true);
    if (this.#table.linked(row) !== null) this.#hasFoundLinks = true;
    for (const known of directory?.entries.values() ?? []) this.#markAll(known);
  }

  /** What has changed by one of its names is written anew by all of them, so that they stay names of one file. False: it was. */
  #markLinked(): boolean {
    const changed = new Set<string>();
    for (const row of this.#table.changed()) {
      const linked = this.#table.linked(row);
      if (linked !== null) changed.add(linked);
    }
    let hasMarked = false;
    for (const row of changed.size > 0 ? this.#table.all() : []) {
      if (this.#table.isChanged(row) || !changed.has(this.#table.linked(row) ?? "")) continue;
      this.#table.setChanged(row, true);
      hasMarked = true;
    }
    return hasMarked;
  }

  /** What is known from now on to be as it was found. */
  #settle(since: number): void {
    if (this.#root === undefined) return;
    const device = this.#table.device(this.#root.row);
    for (const row of this.#table.changed()) {
      const time = this.#table.changeTime(row);
      const isSettled =
        time !== null &&
        time.ms < since - (time.isWhole ? WHOLE_SECONDS_MS : TICK_MS) &&
        // What is mounted in it may be of another kind.
        this.#table.device(row) === device;
      this.#table.setChanged(row, !isSettled);
    }
  }
}

const BIG = { bigint: true } as const;
const SELF = Buffer.from(".");
/** Of a tree that stands still two are enough. */
const PASSES_MAX = 3;
/** The kernel notes the time of its last tick, of which there are at least 100 a second. */
const TICK_MS = 50;
/** Some file systems have no fractions of a second. */
const WHOLE_SECONDS_MS = 2000;

/** A character a byte. */
function nameOf(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

function inodeOf({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`;
}
