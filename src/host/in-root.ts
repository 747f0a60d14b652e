import { closeSync, constants, fstatSync, openSync, readFileSync, readlinkSync, readSync, type Stats } from "node:fs";

const { O_DIRECTORY, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
/** asm-generic/fcntl.h; the same on x86-64 and arm64. Opens no device, waits for no fifo, needs no read permission. */
const O_PATH = 0o10000000;

/** As path_resolution(7): more links than this are a loop. */
const MAX_LINKS = 40;
/** Directories held open at once and components walked in all: far above any real tree, far below what hurts. */
const MAX_DEPTH = 256;
const MAX_STEPS = 4096;

/** These mean "there is no such file" to whoever asks; anything else (EACCES, EMFILE, EIO) is thrown. */
const MISSING = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG"]);

export interface Entry {
  /** Where it really is inside the tree, absolute and without links. */
  readonly path: string;
  readonly type: "file" | "directory" | "symlink" | "other";
  /** Where a symbolic link says it leads, as written. */
  readonly target: string | null;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  /** Bytes. */
  readonly size: number;
  /** Equal for two names of one file. */
  readonly identity: string;
}

/**
 * Reads files of an untrusted tree: what openat2(2) RESOLVE_IN_ROOT does, in user space and without FFI, so that
 * `berth plan` need not load it. Every path is walked one component at a time, each opened below the directory
 * fd held so far (`/proc/self/fd/N/name`, which is openat(N, name)) with O_PATH|O_NOFOLLOW. A symbolic link is
 * read as text and walked like the rest, from the tree's root if it is absolute; `..` goes back to the directory
 * we came through and stops at the root. The kernel therefore never follows a link of the tree, and one that is
 * swapped while we walk makes us arrive elsewhere inside the tree, never outside.
 *
 * Only reads. Whoever writes into a tree or mounts over it uses openat2 (src/sys/files.ts).
 */
export class InRoot {
  readonly #root: number;

  /** @throws the errno error of open(2) when `root` (a trusted path of the host) is no directory we may search */
  constructor(root: string) {
    this.#root = openSync(root, O_PATH | O_DIRECTORY);
  }

  close(): void {
    closeSync(this.#root);
  }

  /** What `path` leads to, links followed. Null: nothing there. */
  resolve(path: string): Entry | null {
    return this.#withEntry(path, true, (entry) => entry);
  }

  /** What is at `path` itself, a last link not followed. */
  lstat(path: string): Entry | null {
    return this.#withEntry(path, false, (entry) => entry);
  }

  /** The whole content. Null: nothing there, no regular file, or more than `max` bytes. */
  readFile(path: string, max: number): Buffer | null {
    const head = this.readHead(path, max + 1);
    return head === null || head.length > max ? null : head;
  }

  /** The first `max` bytes. Null: nothing there, or no regular file. */
  readHead(path: string, max: number): Buffer | null {
    return this.resolveWithHead(path, max)?.head ?? null;
  }

  /** Both `resolve` and `readHead` of one walk, for a regular file. Null: nothing there, or something else. */
  resolveWithHead(path: string, max: number): { entry: Entry; head: Buffer } | null {
    return this.#withEntry(path, true, (entry, fd) =>
      entry.type === "file" ? { entry, head: readUpTo(fd, max) } : null,
    );
  }

  /** The id in /proc/self/mountinfo of the mount that the root is on: proc_pid_fdinfo(5). */
  mountId(): number | null {
    const id = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${this.#root}`, "utf8"))?.[1];
    return id === undefined ? null : Number(id);
  }

  #withEntry<T>(path: string, followLast: boolean, use: (entry: Entry, fd: number) => T): T | null {
    const walk = new Walk(this.#root);
    try {
      const found = walk.to(path, followLast);
      return found === null ? null : use(found.entry, found.fd);
    } catch (error) {
      if (MISSING.has((error as NodeJS.ErrnoException).code ?? "")) return null;
      throw error;
    } finally {
      walk.close();
    }
  }
}

interface Found {
  readonly entry: Entry;
  readonly fd: number;
}

/** One way from the root to a file, with every directory on it held open. */
class Walk {
  readonly #root: number;
  /** From below the root to where we are. */
  readonly #directories: { readonly fd: number; readonly name: string }[] = [];
  /** Opened last and no directory, or not yet known to be one. */
  #last: number | null = null;

  constructor(root: number) {
    this.#root = root;
  }

  to(path: string, followLast: boolean): Found | null {
    /** Components still to walk, the next one at the end. */
    const pending = components(path);
    let links = 0;
    for (let steps = 0; steps < MAX_STEPS && this.#directories.length < MAX_DEPTH; steps++) {
      const name = pending.pop();
      if (name === undefined) return this.#found(this.#here(), fstatSync(this.#here()));
      if (name === "..") {
        this.#up();
        continue;
      }
      const at = `/proc/self/fd/${this.#here()}/${name}`;
      const fd = openSync(at, O_PATH | O_NOFOLLOW);
      this.#last = fd;
      const stat = fstatSync(fd);
      if (stat.isDirectory()) {
        this.#down(fd, name);
        continue;
      }
      const target = stat.isSymbolicLink() ? linkTarget(at) : null;
      if (target === null || (pending.length === 0 && !followLast)) {
        return pending.length > 0 ? null : this.#found(fd, stat, name, target);
      }
      this.#forget();
      if (++links > MAX_LINKS) return null;
      if (target.startsWith("/")) this.#toRoot();
      pending.push(...components(target));
    }
    return null;
  }

  close(): void {
    this.#forget();
    this.#toRoot();
  }

  #found(fd: number, stat: Stats, name: string | null = null, target: string | null = null): Found {
    const names = [...this.#directories.map((directory) => directory.name), ...(name === null ? [] : [name])];
    const entry: Entry = {
      path: `/${names.join("/")}`,
      type: typeOf(stat),
      target,
      mode: stat.mode & 0o7777,
      uid: stat.uid,
      size: stat.size,
      identity: `${stat.dev}:${stat.ino}`,
    };
    return { entry, fd };
  }

  #here(): number {
    return this.#directories.at(-1)?.fd ?? this.#root;
  }

  #down(fd: number, name: string): void {
    this.#directories.push({ fd, name });
    this.#last = null;
  }

  #up(): void {
    const left = this.#directories.pop();
    if (left !== undefined) closeSync(left.fd);
  }

  #toRoot(): void {
    while (this.#directories.length > 0) this.#up();
  }

  #forget(): void {
    if (this.#last !== null) closeSync(this.#last);
    this.#last = null;
  }
}

/** Last first. */
function components(path: string): string[] {
  return path
    .split("/")
    .filter((name) => name !== "" && name !== ".")
    .reverse();
}

/** readlinkat(2). Null: swapped for something that is no link since we looked, so whatever it is now, it is not followed. */
function linkTarget(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EINVAL") return null;
    throw error;
  }
}

function typeOf(stat: Stats): Entry["type"] {
  if (stat.isFile()) return "file";
  if (stat.isDirectory()) return "directory";
  return stat.isSymbolicLink() ? "symlink" : "other";
}

/** Opens the very file that an O_PATH fd holds (already known to be a regular one) and reads its beginning. */
function readUpTo(fd: number, max: number): Buffer {
  const file = openSync(`/proc/self/fd/${fd}`, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  try {
    const buffer = Buffer.allocUnsafeSlow(max);
    let length = 0;
    while (length < max) {
      const count = readSync(file, buffer, length, max - length, null);
      if (count === 0) break;
      length += count;
    }
    return buffer.subarray(0, length);
  } finally {
    closeSync(file);
  }
}
