import { AT_SYMLINK_NOFOLLOW } from "./constants.ts";
import { addressOf, bindPlain, pinned } from "./libc.ts";

const statxCall = bindPlain("int statx(int dirfd, uintptr_t path, int flags, uint mask, uintptr_t result)");

const AT_NO_AUTOMOUNT = 0x800;
const STATX_BASIC_STATS = 0x7ff;
const SIZE_OF_STATX = 256;

/** What is kept of struct statx, as words of 32 bits: all that tells of a change, nothing that reading changes. */
const KEPT = [4, 5, 6, 7, 8, 9, 10, 11, 24, 25, 26, 28, 29, 30, 34, 35] as const;
const WORDS = KEPT.length;
const [LINKS, MODE, INODE, CHANGED, DEVICE] = [0, 3, 4, 8, 14] as const;

/** Of a turn: how many names a thread looks at before it asks for more. */
const PIECE = 128;
/** How long another thread may be at a piece, which takes it less than one. */
const HELPER_MS = 100;
/** Words of `taken`: the next row that nobody has taken, and how many have been looked at. */
const [NEXT, DONE] = [0, 1] as const;

interface Rows {
  /** The open directory that the name is in; -1: the row is free. */
  readonly directories: Int32Array;
  /** Addresses of the names. */
  readonly names: Float64Array;
  readonly known: Int32Array;
  /** 1: it is not what is known of it, which is what it was found as at the last look. */
  readonly changed: Uint8Array;
}

/** What several threads work on in one turn; a row a name. */
export interface SharedRows extends Rows {
  readonly taken: Int32Array;
  readonly count: number;
}

/**
 * What statx(2) says of many names in open directories, and which of them have changed since the last look: 2 us each, by as many
 * threads as help.
 */
export class StatTable {
  /** The number of the turn. */
  readonly turn = shared(Int32Array, 1);
  #capacity = 8192;
  #count = 0;
  #directories = shared(Int32Array, this.#capacity);
  #names = shared(Float64Array, this.#capacity);
  #known = shared(Int32Array, this.#capacity * WORDS);
  #changed = shared(Uint8Array, this.#capacity);
  readonly #free: number[] = [];
  /** Names lie in pieces of memory that stay where they are. */
  #memory = pinned(0);
  #used = 0;
  readonly #kept: Buffer[] = [];

  /** A row for a name, which has been looked at. */
  add(directory: number, name: Buffer): number {
    const row = this.#free.pop() ?? this.#count++;
    if (row === this.#capacity) this.#grow();
    this.#directories[row] = directory;
    this.#names[row] = this.#keep(name);
    look(this.#rows(), row);
    this.#changed[row] = 1;
    return row;
  }

  remove(row: number): void {
    this.#directories[row] = -1;
    this.#changed[row] = 0;
    this.#free.push(row);
  }

  /** Rows of what has changed. What is set changed meanwhile may be among them. */
  *changed(): Generator<number> {
    for (let row = this.#changed.indexOf(1); row >= 0; row = this.#changed.indexOf(1, row + 1)) yield row;
  }

  /** All rows that there are. */
  *all(): Generator<number> {
    for (let row = 0; row < this.#count; row++) if (this.#directories[row] !== -1) yield row;
  }

  isChanged(row: number): boolean {
    return this.#changed[row] === 1;
  }

  setChanged(row: number, changed: boolean): void {
    this.#changed[row] = changed ? 1 : 0;
  }

  /** Looks at all. `give`: what other threads need that call `helpLooking`. */
  lookAtAll(give: (rows: SharedRows) => void): void {
    const rows: SharedRows = { ...this.#rows(), taken: shared(Int32Array, 2), count: this.#count };
    give(rows);
    Atomics.add(this.turn, 0, 1);
    Atomics.notify(this.turn, 0);
    lookAtPieces(rows);
    for (let done = Atomics.load(rows.taken, DONE); done < rows.count; done = Atomics.load(rows.taken, DONE)) {
      if (Atomics.wait(rows.taken, DONE, done, HELPER_MS) !== "timed-out") continue;
      // A thread has ended in the midst of its piece, or will not come to it: whoever waits for this may hold a machine still.
      lookAt(rows, 0, rows.count);
      return;
    }
  }

  /** Milliseconds since the epoch; null: there was none of that name. */
  changeTime(row: number): { readonly ms: number; readonly isWhole: boolean } | null {
    if (!this.isThere(row)) return null;
    const [seconds, high] = [this.#word(row, CHANGED), this.#word(row, CHANGED + 1)];
    const nanoseconds = this.#word(row, CHANGED + 2);
    return { ms: (high * 2 ** 32 + (seconds >>> 0)) * 1e3 + nanoseconds / 1e6, isWhole: nanoseconds === 0 };
  }

  isThere(row: number): boolean {
    return this.#word(row, MODE) !== 0;
  }

  isDirectory(row: number): boolean {
    return (this.#word(row, MODE) & S_IFMT) === S_IFDIR;
  }

  device(row: number): string {
    return `${this.#word(row, DEVICE)}:${this.#word(row, DEVICE + 1)}`;
  }

  /** Of a file with more than one name, what they have in common; null: it has one. */
  linked(row: number): string | null {
    if (this.#word(row, LINKS) < 2 || this.isDirectory(row)) return null;
    return `${this.device(row)}:${this.#word(row, INODE)}:${this.#word(row, INODE + 1)}`;
  }

  #rows(): Rows {
    return {
      directories: this.#directories,
      names: this.#names,
      known: this.#known,
      changed: this.#changed,
    };
  }

  #word(row: number, word: number): number {
    return this.#known[row * WORDS + word] ?? 0;
  }

  #keep(name: Buffer): number {
    if (this.#used + name.length + 1 > this.#memory.length) {
      this.#memory = pinned(Math.max(1 << 18, name.length + 1));
      this.#kept.push(this.#memory);
      this.#used = 0;
    }
    const at = this.#used;
    name.copy(this.#memory, at);
    this.#used += name.length + 1; // the memory was zero
    return addressOf(this.#memory) + at;
  }

  #grow(): void {
    this.#capacity *= 2;
    this.#directories = grown(this.#directories, shared(Int32Array, this.#capacity));
    this.#names = grown(this.#names, shared(Float64Array, this.#capacity));
    this.#known = grown(this.#known, shared(Int32Array, this.#capacity * WORDS));
    this.#changed = grown(this.#changed, shared(Uint8Array, this.#capacity));
  }
}

const [S_IFMT, S_IFDIR] = [0o170000, 0o040000] as const;

/** For another thread: waits for the next turn, and takes part in it. `take`: what it was given for that. Returns its number. */
export function helpLooking(turn: Int32Array, known: number, take: () => SharedRows | undefined): number {
  Atomics.wait(turn, 0, known);
  const number = Atomics.load(turn, 0);
  const rows = take();
  if (rows !== undefined) lookAtPieces(rows);
  return number;
}

/** Rows that no other thread has taken, until there are none. */
function lookAtPieces(rows: SharedRows): void {
  for (;;) {
    const begin = Atomics.add(rows.taken, NEXT, PIECE);
    const end = Math.min(begin + PIECE, rows.count);
    if (begin >= end) return;
    lookAt(rows, begin, end);
    Atomics.add(rows.taken, DONE, end - begin);
    Atomics.notify(rows.taken, DONE);
  }
}

/** Looking at a row once more does no harm. */
function lookAt(rows: Rows, begin: number, end: number): void {
  for (let row = begin; row < end; row++) if (rows.directories[row] !== -1) look(rows, row);
}

const found = pinned(SIZE_OF_STATX);
const words = new Int32Array(found.buffer, found.byteOffset, SIZE_OF_STATX / 4);
const foundAt = addressOf(found);

/** A row that is not what it was is changed from then on. */
function look({ directories, names, known, changed }: Rows, row: number): void {
  const directory = directories[row] ?? -1;
  const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
  const isThere = statxCall(directory, names[row], flags, STATX_BASIC_STATS, foundAt) === 0;
  const base = row * WORDS;
  for (let word = 0; word < WORDS; word++) {
    const value = isThere ? (words[KEPT[word] ?? 0] ?? 0) : 0;
    if (known[base + word] === value) continue;
    known[base + word] = value;
    changed[row] = 1;
  }
}

interface ArrayType<T> {
  new (buffer: SharedArrayBuffer): T;
  readonly BYTES_PER_ELEMENT: number;
}

function shared<T>(type: ArrayType<T>, length: number): T {
  return new type(new SharedArrayBuffer(length * type.BYTES_PER_ELEMENT));
}

function grown<T extends { set(from: T): void }>(from: T, to: T): T {
  to.set(from);
  return to;
}
