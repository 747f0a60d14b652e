import { openSync } from "node:fs";
import { BerthError, errorCode } from "../errors.ts";
import { copyContent } from "../host/copy-content.ts";
import { O_NOCTTY, O_NONBLOCK, O_PATH, O_RDONLY } from "../sys/constants.ts";
import { openBelow, readLinkBytes } from "../sys/entries.ts";
import { closeQuietly } from "../sys/files.ts";
import { type AttributeReader, setAttributes } from "./attributes.ts";
import type { CopyCounts } from "./protocol.ts";
import { putFile, putLink, putSymlink } from "./put.ts";
import { type Entry, entryOf, type Side } from "./side.ts";

export interface CopyWork {
  readonly source: Side;
  readonly target: Side;
  readonly attributes: AttributeReader;
  readonly replace: boolean;
  /** Called often, and between pieces of large files; what it throws ends the copy. */
  readonly onProgress: (counts: CopyCounts) => void;
  readonly onWarning: (path: readonly Buffer[], why: string) => void;
}

/** A directory that something is copied into. */
export interface Target {
  readonly entry: Entry;
  /** From what the copy begins with, for messages and to find it again. */
  readonly path: readonly Buffer[];
}

export const NOT_KEPT = "its extended attributes can't be kept there";

/** Files and links of a tree that is copied, one by one. */
export class FileCopier {
  readonly #work: CopyWork;
  readonly #counts: Writable<CopyCounts>;
  /** What the copy begins in. */
  readonly #root: Target;
  /** Where in the copy files are that have further names, by device and inode of the source. */
  readonly #linked = new Map<string, { readonly path: readonly Buffer[]; readonly identity: string }>();

  constructor(work: CopyWork, counts: Writable<CopyCounts>, root: Target) {
    this.#work = work;
    this.#counts = counts;
    this.#root = root;
  }

  file(from: Entry, into: Target, name: Buffer): void {
    const identity = identityOf(from);
    const { source, target, attributes, replace } = this.#work;
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
        if (!setAttributes(fd, kept)) this.#work.onWarning([...into.path, name], NOT_KEPT);
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
      this.#work.target.use(into.entry);
      putLink({ directory: into.entry.fd, name, replace: this.#work.replace }, first.fd);
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
    let at = this.#root.entry;
    try {
      for (const [index, name] of path.entries()) {
        this.#work.target.use(at);
        const next = entryOf(openBelow(at.fd, name, O_PATH));
        if (index > 0) closeQuietly(at.fd);
        at = next;
      }
      return at;
    } catch {
      if (at !== this.#root.entry) closeQuietly(at.fd);
      return null;
    }
  }

  symlink(from: Entry, into: Target, name: Buffer): void {
    const { source, target, attributes, replace } = this.#work;
    source.use(from);
    const [leadsTo, kept] = [readLinkBytes(from.fd), attributes.read(from)];
    target.use(into.entry);
    putSymlink({ directory: into.entry.fd, name, replace }, leadsTo, kept);
    this.#counts.links++;
  }

  /** Before much is copied for nothing. */
  #refuseIfThere(into: Target, name: Buffer): void {
    this.#work.target.use(into.entry);
    const fd = openIfThere(into.entry.fd, name);
    if (fd === null) return;
    const { stat } = entryOf(fd);
    closeQuietly(fd);
    if (stat.isDirectory()) throw new BerthError("there is a directory of that name already", { kind: "EEXIST" });
    if (!this.#work.replace) throw alreadyThere();
  }

  #addBytes(count: number): void {
    this.#counts.bytes += count;
    this.#work.onProgress(this.#counts);
  }
}

export type Writable<T> = { -readonly [K in keyof T]: T[K] };

export function alreadyThere(): BerthError {
  return new BerthError("it is there already", { hint: "--force replaces files that are there", kind: "EEXIST" });
}

export function identityOf({ stat }: Entry): string {
  return `${stat.dev}:${stat.ino}`;
}

/** The very file that an O_PATH fd holds. */
export function reopen({ fd }: Entry, flags: number): number {
  return openSync(`/proc/self/fd/${fd}`, flags);
}

export function openIfThere(directory: number, name: Buffer): number | null {
  try {
    return openBelow(directory, name, O_PATH);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return null;
    throw error;
  }
}
