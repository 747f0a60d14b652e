import { openSync, statfsSync } from "node:fs";
import { BerthError, errorCode } from "../errors.ts";
import { visible } from "../spec/quote.ts";
import { O_NOCTTY, O_NONBLOCK, O_PATH, O_RDONLY } from "../sys/constants.ts";
import { entriesOf, makeDirectory, openBelow, readLinkBytes } from "../sys/entries.ts";
import { closeQuietly, O_DIRECTORY } from "../sys/files.ts";
import { type AttributeReader, type Attributes, setAttributes } from "./attributes.ts";
import { copyContent } from "./content.ts";
import type { CopyCounts } from "./protocol.ts";
import { putFile, putLink, putSymlink } from "./put.ts";
import { type Entry, entryOf, type Side } from "./side.ts";

export interface TreeOptions {
  readonly source: Side;
  readonly target: Side;
  readonly attributes: AttributeReader;
  readonly replace: boolean;
  /** Called often, and between pieces of large files; what it throws ends the copy. */
  readonly onProgress: (counts: CopyCounts) => void;
  readonly onWarning: (text: string) => void;
}

/** A directory that something is copied into. */
interface Target {
  readonly entry: Entry;
  /** From what the copy begins with, for messages and to find it again. */
  readonly path: readonly Buffer[];
}

const NOT_KEPT = "its extended attributes can't be kept there";
/** Each directory on the way is open thrice. A path can't be so deep, whatever is in the tree. */
const DEEPEST = 2048;
/** File systems whose files are the kernel's own words, by statfs(2) (linux/magic.h). */
const KERNEL_OWN: ReadonlyMap<number, string> = new Map([
  [0x9fa0, "proc"],
  [0x62656572, "sysfs"],
  [0x63677270, "cgroup2"],
  [0x27e0eb, "cgroup"],
  [0x1cd1, "devpts"],
  [0x64626720, "debugfs"],
  [0x74726163, "tracefs"],
  [0x73636673, "securityfs"],
  [0xcafe4a11, "bpf"],
  [0x19800202, "mqueue"],
]);

/**
 * Copies a file, a link or a directory with all in it, merging it into one that is there. Both sides are walked by fds: an
 * entry is opened by one name in a directory that is open, with O_PATH, which follows no link and waits for no fifo, and
 * only what has turned out to be a file or a directory is opened for more.
 */
export class TreeCopy {
  readonly #options: TreeOptions;
  readonly #counts = { bytes: 0, files: 0, directories: 0, links: 0, skipped: 0 };
  /** Where in the copy files are that have further names, by device and inode of the source. */
  readonly #linked = new Map<string, { readonly path: readonly Buffer[]; readonly identity: string }>();
  /** The directory that the copy is: met in the source, it would never end. */
  #copied: string | undefined;
  #root: Target | undefined;

  constructor(options: TreeOptions) {
    this.#options = options;
  }

  get counts(): CopyCounts {
    return this.#counts;
  }

  /** `from` is open with O_PATH; it becomes `name` in the directory `into`, or with a name of null that directory itself. */
  copy(from: Entry, into: Entry, name: Buffer | null): void {
    const parent: Target = { entry: into, path: [] };
    this.#root = parent;
    if (name !== null) {
      this.#copyEntry(from, parent, name, 0);
      return;
    }
    if (!from.stat.isDirectory()) throw new BerthError("only a directory can be merged into the root");
    this.#options.source.use(from);
    const open = reopen(from, O_RDONLY | O_DIRECTORY);
    try {
      this.#fill(from, open, parent, 0);
    } finally {
      closeQuietly(open);
    }
  }

  #copyEntry(from: Entry, into: Target, name: Buffer, depth: number): void {
    const { stat } = from;
    this.#options.onProgress(this.#counts);
    if (stat.isFile()) this.#copyFile(from, into, name);
    else if (stat.isDirectory()) this.#copyDirectory(from, into, name, depth);
    else if (stat.isSymbolicLink()) this.#copySymlink(from, into, name);
    else this.#skip(from, into, name, depth);
  }

  #copyFile(from: Entry, into: Target, name: Buffer): void {
    const identity = identityOf(from);
    const { source, target, attributes, replace } = this.#options;
    const place = { directory: into.entry.fd, name, replace };
    if (from.stat.nlink > 1n && this.#linkTo(this.#linked.get(identity), into, name)) return;
    this.#refuseIfThere(into, name);
    source.use(from);
    const open = reopen(from, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    try {
      const kept = attributes.read({ ...from, fd: open });
      target.use(into.entry);
      putFile(place, (fd) => {
        copyContent(open, fd, { size: Number(from.stat.size), onBytes: (count) => this.#addBytes(count) });
        target.use(entryOf(fd));
        if (!setAttributes(fd, kept)) this.#warn([...into.path, name], NOT_KEPT);
        if (from.stat.nlink > 1n)
          this.#linked.set(identity, { path: [...into.path, name], identity: identityOf(entryOf(fd)) });
        target.use(into.entry);
      });
    } finally {
      closeQuietly(open);
    }
    this.#counts.files++;
  }

  /** A further name of a file that has been copied, if that is still where it was put. */
  #linkTo(
    known: { readonly path: readonly Buffer[]; readonly identity: string } | undefined,
    into: Target,
    name: Buffer,
  ): boolean {
    if (known === undefined) return false;
    const first = this.#findCopied(known.path);
    if (first === null) return false;
    try {
      if (identityOf(first) !== known.identity) return false;
      this.#options.target.use(into.entry);
      putLink({ directory: into.entry.fd, name, replace: this.#options.replace }, first.fd);
      this.#counts.links++;
      return true;
    } catch (error) {
      if (errorCode(error) === "EEXIST") throw error;
      return false; // the other one has gone, has too many names already, or is on another file system
    } finally {
      closeQuietly(first.fd);
    }
  }

  #findCopied(path: readonly Buffer[]): Entry | null {
    let at = this.#root?.entry;
    try {
      for (const [index, name] of path.entries()) {
        if (at === undefined) return null;
        this.#options.target.use(at);
        const next = entryOf(openBelow(at.fd, name, O_PATH));
        if (index > 0) closeQuietly(at.fd);
        at = next;
      }
      return at ?? null;
    } catch {
      if (at !== undefined && at !== this.#root?.entry) closeQuietly(at.fd);
      return null;
    }
  }

  #copySymlink(from: Entry, into: Target, name: Buffer): void {
    const { source, target, attributes, replace } = this.#options;
    source.use(from);
    const [leadsTo, kept] = [readLinkBytes(from.fd), attributes.read(from)];
    target.use(into.entry);
    putSymlink({ directory: into.entry.fd, name, replace }, leadsTo, kept);
    this.#counts.links++;
  }

  #copyDirectory(from: Entry, into: Target, name: Buffer, depth: number): void {
    const { source, target, attributes } = this.#options;
    source.use(from);
    const [open, kept] = [reopen(from, O_RDONLY | O_DIRECTORY), attributes.read(from)];
    try {
      target.use(into.entry);
      const made = makeIfMissing(into.entry.fd, name);
      const copy: Target = { entry: entryOf(openBelow(into.entry.fd, name, O_PATH)), path: [...into.path, name] };
      try {
        if (!copy.entry.stat.isDirectory()) throw new BerthError("it is there already, and is no directory");
        this.#fill(from, open, copy, depth);
        // One that was there keeps what it has.
        if (made) this.#finish(copy, kept);
      } finally {
        closeQuietly(copy.entry.fd);
      }
    } finally {
      closeQuietly(open);
    }
    this.#counts.directories++;
  }

  #finish({ entry, path }: Target, kept: Attributes): void {
    this.#options.target.use(entry);
    const open = reopen(entry, O_RDONLY | O_DIRECTORY);
    try {
      if (!setAttributes(open, kept)) this.#warn(path, NOT_KEPT);
    } finally {
      closeQuietly(open);
    }
  }

  /** With all that is in a directory, which is `open` for reading. */
  #fill(from: Entry, open: number, into: Target, depth: number): void {
    if (depth > DEEPEST) throw new BerthError(`directories are nested more than ${DEEPEST} deep`);
    this.#copied ??= identityOf(into.entry);
    // A bind may show both sides the same directory.
    if (identityOf(from) === this.#copied)
      throw new BerthError("it would be copied into itself", { hint: "copy to a place outside of it" });
    for (const name of entriesOf(open)) this.#copyNamed(from, open, name, into, depth + 1);
  }

  #copyNamed(from: Entry, open: number, name: Buffer, into: Target, depth: number): void {
    try {
      this.#options.source.use(from);
      const fd = openIfThere(open, name);
      if (fd === null) return;
      try {
        const entry = entryOf(fd);
        const kernel = entry.stat.isDirectory() && entry.stat.dev !== from.stat.dev ? kernelFileSystem(fd) : undefined;
        if (kernel === undefined) this.#copyEntry(entry, into, name, depth);
        else this.#warnSkipped(into, name, `${kernel} is the kernel's own`);
      } finally {
        closeQuietly(fd);
      }
    } catch (error) {
      throw at(error, [...into.path, name]);
    }
  }

  #skip({ stat }: Entry, into: Target, name: Buffer, depth: number): void {
    const what = stat.isFIFO() ? "a fifo" : stat.isSocket() ? "a socket" : "a device";
    if (depth === 0) throw new BerthError(`it is ${what}, and only files, directories and links are copied`);
    this.#warnSkipped(into, name, `${what} is not copied`);
  }

  #warnSkipped(into: Target, name: Buffer, why: string): void {
    this.#counts.skipped++;
    this.#warn([...into.path, name], why);
  }

  #warn(path: readonly Buffer[], why: string): void {
    this.#options.onWarning(`${showPath(path)}: ${why}`);
  }

  /** Before much is copied for nothing. */
  #refuseIfThere(into: Target, name: Buffer): void {
    this.#options.target.use(into.entry);
    const fd = openIfThere(into.entry.fd, name);
    if (fd === null) return;
    const { stat } = entryOf(fd);
    closeQuietly(fd);
    if (stat.isDirectory()) throw new BerthError("there is a directory of that name already");
    if (!this.#options.replace) throw alreadyThere();
  }

  #addBytes(count: number): void {
    this.#counts.bytes += count;
    this.#options.onProgress(this.#counts);
  }
}

export function alreadyThere(): BerthError {
  return new BerthError("it is there already", { hint: "--force replaces files that are there" });
}

/** Where in the copy something failed; set once, at the innermost place. */
export class PlacedError extends BerthError {
  readonly path: readonly Buffer[];

  constructor(path: readonly Buffer[], cause: unknown) {
    const { message, hint } = cause as BerthError;
    super(message, { hint, cause });
    this.path = path;
  }
}

function at(error: unknown, path: readonly Buffer[]): unknown {
  if (error instanceof PlacedError || !(error instanceof BerthError || errorCode(error) !== undefined)) return error;
  return new PlacedError(path, error);
}

export function showPath(path: readonly Buffer[]): string {
  return visible(path.map(showName).join("/"));
}

/** Bytes that are no text are shown as such. */
function showName(name: Buffer): string {
  const text = name.toString("utf8");
  if (Buffer.from(text).equals(name)) return text;
  return [...name].map((byte) => (byte < 0x80 ? String.fromCharCode(byte) : `\\x${byte.toString(16)}`)).join("");
}

function identityOf({ stat }: Entry): string {
  return `${stat.dev}:${stat.ino}`;
}

/** The very file that an O_PATH fd holds. */
function reopen({ fd }: Entry, flags: number): number {
  return openSync(`/proc/self/fd/${fd}`, flags);
}

function openIfThere(directory: number, name: Buffer): number | null {
  try {
    return openBelow(directory, name, O_PATH);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return null;
    throw error;
  }
}

function makeIfMissing(directory: number, name: Buffer): boolean {
  try {
    makeDirectory(directory, name, 0o700);
    return true;
  } catch (error) {
    if (errorCode(error) === "EEXIST") return false;
    throw error;
  }
}

function kernelFileSystem(directory: number): string | undefined {
  return KERNEL_OWN.get(statfsSync(`/proc/self/fd/${directory}`).type);
}
