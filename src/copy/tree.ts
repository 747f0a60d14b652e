import { statfsSync } from "node:fs";
import { BerthError, errorCode } from "../errors.ts";
import { O_PATH, O_RDONLY } from "../sys/constants.ts";
import { entriesOf, makeDirectory, openBelow } from "../sys/entries.ts";
import { closeQuietly, O_DIRECTORY } from "../sys/files.ts";
import { type Attributes, setAttributes } from "./attributes.ts";
import {
  type CopyWork,
  FileCopier,
  identityOf,
  NOT_KEPT,
  openIfThere,
  reopen,
  type Target,
  type Writable,
} from "./files.ts";
import { placed } from "./placed-error.ts";
import type { CopyCounts } from "./protocol.ts";
import { type Entry, entryOf } from "./side.ts";

/** A directory that is being copied. */
interface Open {
  readonly from: Entry;
  /** The same for reading. */
  readonly fd: number;
  readonly names: Generator<Buffer>;
  readonly into: Target;
  /** What it is to have when all is in it; null: it was there, and keeps what it has. */
  readonly kept: Attributes | null;
}

/** Each directory on the way is open twice. A path can't be so deep, whatever is in the tree. */
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
  readonly #work: CopyWork;
  readonly #root: Target;
  readonly #files: FileCopier;
  readonly #counts: Writable<CopyCounts> = { bytes: 0, files: 0, directories: 0, links: 0, skipped: 0 };
  readonly #stack: Open[] = [];
  /** The directory that the copy is: met in the source, it would never end. */
  #copied: string | undefined;

  /** `into`: the directory that the copy is to be in. */
  constructor(work: CopyWork, into: Entry) {
    this.#work = work;
    this.#root = { entry: into, path: [] };
    this.#files = new FileCopier(work, this.#counts, this.#root);
  }

  get counts(): CopyCounts {
    return this.#counts;
  }

  /** `from` is open with O_PATH; it becomes `name`, or with a name of null the directory itself. */
  copy(from: Entry, name: Buffer | null): void {
    const kernel = from.stat.isDirectory() ? kernelFileSystem(from.fd) : undefined;
    if (kernel !== undefined)
      throw new BerthError(`it is ${kernel}, the kernel's own`, { hint: "single files of it can be copied" });
    try {
      if (name === null) this.#merge(from);
      else this.#begin(from, this.#root, name);
      for (let open = this.#stack.at(-1); open !== undefined; open = this.#stack.at(-1)) this.#goOn(open);
    } finally {
      for (const open of this.#stack.splice(0)) this.#close(open);
    }
  }

  #merge(from: Entry): void {
    if (!from.stat.isDirectory()) throw new BerthError("only a directory can be merged into the root");
    this.#work.source.use(from);
    this.#push(from, reopen(from, O_RDONLY | O_DIRECTORY), this.#root, null);
  }

  /** All of a file or link; of a directory what comes before that which is in it. */
  #begin(from: Entry, into: Target, name: Buffer): void {
    const { stat } = from;
    this.#work.onProgress(this.#counts);
    if (stat.isFile()) this.#files.file(from, into, name);
    else if (stat.isDirectory()) this.#beginDirectory(from, into, name);
    else if (stat.isSymbolicLink()) this.#files.symlink(from, into, name);
    else this.#skipSpecial(from, into, name);
  }

  #beginDirectory(from: Entry, into: Target, name: Buffer): void {
    const { source, target, attributes } = this.#work;
    source.use(from);
    const fd = reopen(from, O_RDONLY | O_DIRECTORY);
    let copy = -1;
    try {
      const kept = attributes.read({ ...from, fd });
      target.use(into.entry);
      const made = makeIfMissing(into.entry.fd, name);
      copy = openBelow(into.entry.fd, name, O_PATH);
      const entry = entryOf(copy);
      if (!entry.stat.isDirectory()) throw new BerthError("it is there already, and is no directory");
      this.#push(from, fd, { entry, path: [...into.path, name] }, made ? kept : null);
    } catch (error) {
      for (const each of [fd, copy]) if (each >= 0) closeQuietly(each);
      throw error;
    }
  }

  #push(from: Entry, fd: number, into: Target, kept: Attributes | null): void {
    if (this.#stack.length >= DEEPEST) throw new BerthError(`directories are nested more than ${DEEPEST} deep`);
    this.#copied ??= identityOf(into.entry);
    // A bind may show both sides the same directory.
    if (identityOf(from) === this.#copied)
      throw new BerthError("it would be copied into itself", { hint: "copy to a place outside of it" });
    this.#stack.push({ from, fd, names: entriesOf(fd), into, kept });
  }

  /** The next entry of a directory, or its end. */
  #goOn(open: Open): void {
    const { into } = open;
    let path = into.path;
    try {
      const { value: name, done } = open.names.next();
      if (done === true) {
        this.#finish(open);
        return;
      }
      path = [...into.path, name];
      this.#copyNamed(open, name);
    } catch (error) {
      throw placed(error, path);
    }
  }

  #copyNamed({ from, fd: directory, into }: Open, name: Buffer): void {
    this.#work.source.use(from);
    const fd = openIfThere(directory, name);
    if (fd === null) return;
    try {
      const entry = entryOf(fd);
      const kernel = entry.stat.isDirectory() && entry.stat.dev !== from.stat.dev ? kernelFileSystem(fd) : undefined;
      if (kernel === undefined) this.#begin(entry, into, name);
      else this.#skip(into, name, `${kernel} is the kernel's own`);
    } finally {
      closeQuietly(fd);
    }
  }

  #finish(open: Open): void {
    const { into, kept } = open;
    if (kept !== null) {
      this.#work.target.use(into.entry);
      const fd = reopen(into.entry, O_RDONLY | O_DIRECTORY);
      try {
        if (!setAttributes(fd, kept)) this.#work.onWarning(into.path, NOT_KEPT);
      } finally {
        closeQuietly(fd);
      }
    }
    this.#counts.directories++;
    this.#stack.pop();
    this.#close(open);
  }

  #close({ fd, into }: Open): void {
    closeQuietly(fd);
    if (into !== this.#root) closeQuietly(into.entry.fd);
  }

  #skipSpecial({ stat }: Entry, into: Target, name: Buffer): void {
    const what = stat.isFIFO() ? "a fifo" : stat.isSocket() ? "a socket" : "a device";
    if (into === this.#root && this.#stack.length === 0)
      throw new BerthError(`it is ${what}, and only files, directories and links are copied`);
    this.#skip(into, name, `${what} is not copied`);
  }

  #skip(into: Target, name: Buffer, why: string): void {
    this.#counts.skipped++;
    this.#work.onWarning([...into.path, name], why);
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
