import {
  closeSync,
  constants,
  fstatSync,
  opendirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  type Stats,
} from "node:fs";
import { errorCode } from "../errors.ts";
import { O_PATH, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV } from "../sys/constants.ts";
import { SysError } from "../sys/errno.ts";
import { O_DIRECTORY, O_NOFOLLOW, openat2, openat2Unless, readLink } from "../sys/files.ts";
import { isReadOnlyAt, mountIdOf } from "../sys/mount-id.ts";

const { O_NOCTTY, O_NONBLOCK, O_RDONLY } = constants;

/** These mean "there is no such file" to whoever asks; anything else (EACCES, EMFILE, EIO) is thrown. */
const MISSING = ["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "EXDEV"] as const;
/** openat2(2) gives up on a path with `..` when anybody on the host renames a directory or mounts something meanwhile. */
const TRIES = 100;

export interface Entry {
  /** Where it really is inside the tree, absolute and without links. */
  readonly path: string;
  readonly type: "file" | "directory" | "symlink" | "other";
  /** Where a symbolic link says it leads, as written. */
  readonly target: string | null;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes. */
  readonly size: number;
  /** Equal for two names of one file. */
  readonly identity: string;
  /** ms: of what it is and of what is in it. */
  readonly changed: number;
}

/** A tree, or a directory inside one that is taken for the root of another. */
export type TreeRoot = string | { readonly tree: string; readonly inside: string };

export function showRoot(root: TreeRoot): string {
  return typeof root === "string" ? root : `${root.inside} of ${root.tree}`;
}

/**
 * Reads files of an untrusted tree. The kernel resolves every path with the tree as root (openat2(2),
 * RESOLVE_IN_ROOT): absolute links and `..` stay inside whatever is swapped meanwhile. What is there is first opened
 * with O_PATH, which opens no device and waits for no fifo, and read only when it is a regular file.
 *
 * Only reads. Mount points and files in a tree are made by the stage.
 */
export class InRoot {
  readonly #root: number;
  readonly #resolve: number;
  /** The root's own path, which those of everything in it begin with. */
  readonly #prefix: string;

  /** `ownMount`: without what is mounted below it. @throws the errno error of open(2) when `root` (a trusted path of the host) is no directory we may search */
  constructor(root: TreeRoot, options: { readonly ownMount?: boolean } = {}) {
    this.#resolve = RESOLVE_IN_ROOT | (options.ownMount ? RESOLVE_NO_XDEV : 0);
    this.#root = openRoot(root);
    const path = readlinkSync(`/proc/self/fd/${this.#root}`);
    this.#prefix = path === "/" ? "" : path;
  }

  close(): void {
    closeSync(this.#root);
  }

  /** What `path` leads to, links followed. Null: nothing there. */
  resolve(path: string): Entry | null {
    return this.#with(path, O_PATH, (fd) => this.#entry(fd));
  }

  /** What is at `path` itself, a last link not followed. */
  lstat(path: string): Entry | null {
    return this.#with(path, O_PATH | O_NOFOLLOW, (fd) => this.#entry(fd));
  }

  /** Whether a directory is there, and nothing in it. */
  isEmptyDirectory(path: string): boolean {
    const empty = this.#with(path, O_PATH, (fd) => {
      if (!fstatSync(fd).isDirectory()) return false;
      const directory = opendirSync(`/proc/self/fd/${fd}`);
      try {
        return directory.readSync() === null;
      } finally {
        directory.closeSync();
      }
    });
    return empty === true;
  }

  /** The whole content. Null: nothing there, no regular file, or more than `max` bytes. */
  readFile(path: string, max: number): Buffer | null {
    const head = this.readHead(path, max + 1);
    return head === null || head.length > max ? null : head;
  }

  /** The first `max` bytes. Null: nothing there, or no regular file. */
  readHead(path: string, max: number): Buffer | null {
    return this.#with(path, O_PATH, (fd) => {
      const stat = fstatSync(fd);
      return stat.isFile() ? readUpTo(fd, Math.min(max, stat.size + 1)) : null;
    });
  }

  /** Names in a directory. Null: nothing there, or no directory. */
  list(path: string): readonly string[] | null {
    return this.#with(path, O_PATH, (fd) => (fstatSync(fd).isDirectory() ? readdirSync(`/proc/self/fd/${fd}`) : null));
  }

  /** Both `resolve` and `readHead` of one walk, for a regular file. Null: nothing there, or something else. */
  resolveWithHead(path: string, max: number): { entry: Entry; head: Buffer } | null {
    return this.#with(path, O_PATH, (fd) => {
      const entry = this.#entry(fd);
      return entry?.type === "file" ? { entry, head: readUpTo(fd, max) } : null;
    });
  }

  /** The type of what `path` leads to, links followed. Null: nothing there. */
  typeOf(path: string): Entry["type"] | null {
    return this.#with(path, O_PATH, (fd) => typeOf(fstatSync(fd)));
  }

  /** Where a symbolic link at `path` itself says it leads. Null: nothing there, or no link. */
  linkTarget(path: string): string | null {
    return this.#with(path, O_PATH | O_NOFOLLOW, (fd) => (fstatSync(fd).isSymbolicLink() ? readLink(fd) : null));
  }

  /** Whether `path`, as far as it is there, is directories and no links. */
  isPlain(path: string): boolean {
    try {
      // A link on the way to what is not there would have been ELOOP.
      const flags = O_PATH | O_DIRECTORY;
      const fd = openat2Unless(["ENOENT"], this.#root, path, flags, this.#resolve | RESOLVE_NO_SYMLINKS);
      if (fd !== null) closeSync(fd);
      return true;
    } catch {
      return false;
    }
  }

  /** What it is itself. */
  root(): Entry {
    return entryOf(this.#root, "/");
  }

  /** Whether the root's mount or its file system is read-only. */
  isReadOnly(): boolean {
    return isReadOnlyAt(this.#root);
  }

  /** The id in /proc/self/mountinfo of the mount that the root is on. */
  mountId(): number {
    return mountIdOf(this.#root);
  }

  #with<T>(path: string, flags: number, use: (fd: number) => T | null): T | null {
    const fd = this.#open(path, flags);
    if (fd === null) return null;
    try {
      return use(fd);
    } finally {
      closeSync(fd);
    }
  }

  #entry(fd: number): Entry | null {
    const path = this.#pathOf(fd);
    return path === null ? null : entryOf(fd, path);
  }

  #open(path: string, flags: number): number | null {
    for (let tried = 1; ; tried++) {
      try {
        return openat2Unless(MISSING, this.#root, path, flags, this.#resolve);
      } catch (error) {
        if (!(error instanceof SysError) || error.code !== "EAGAIN" || tried === TRIES) throw error;
      }
    }
  }

  /** Null: longer than PATH_MAX, which no call could be given. */
  #pathOf(fd: number): string | null {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`).slice(this.#prefix.length);
      return path === "" ? "/" : path;
    } catch (error) {
      if (errorCode(error) === "ENAMETOOLONG") return null;
      throw error;
    }
  }
}

function openRoot(root: TreeRoot): number {
  if (typeof root === "string") return openSync(root, O_PATH | O_DIRECTORY);
  const tree = openSync(root.tree, O_PATH | O_DIRECTORY);
  try {
    return openat2(tree, root.inside, O_PATH | O_DIRECTORY);
  } finally {
    closeSync(tree);
  }
}

function entryOf(fd: number, path: string): Entry {
  const stat = fstatSync(fd);
  return {
    path,
    type: typeOf(stat),
    target: stat.isSymbolicLink() ? readLink(fd) : null,
    mode: stat.mode & 0o7777,
    uid: stat.uid,
    gid: stat.gid,
    size: stat.size,
    identity: `${stat.dev}:${stat.ino}`,
    changed: stat.ctimeMs,
  };
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
