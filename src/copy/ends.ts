import { openSync, readlinkSync } from "node:fs";
import { posix } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import { quote } from "../spec/quote.ts";
import { O_PATH } from "../sys/constants.ts";
import { openBelow } from "../sys/entries.ts";
import { closeQuietly, O_DIRECTORY, openat2 } from "../sys/files.ts";
import { type Entry, entryOf, type Owners, type Side } from "./side.ts";

/** openat2(2) gives up on a path with `..` when anybody on the host renames a directory or mounts something meanwhile. */
const TRIES = 100;
/** Nobody's: to look for something with no rights over anything. */
const NONE: Owners = { uid: -1, gid: -1 };

/** How paths are followed on one side. What is opened is the caller's to close. */
export interface Finder {
  readonly side: Side;
  directory(path: string): Entry;
}

/** On the host they mean what they say. */
export function hostFinder(side: Side): Finder {
  return {
    side,
    directory: (path) => {
      side.use(NONE);
      return entryOf(openSync(path, O_PATH | O_DIRECTORY));
    },
  };
}

/** In a machine they are followed as its root would, from its root directory on. */
export function insideFinder(side: Side, root: Entry): Finder {
  return {
    side,
    directory: (path) => {
      side.use(NONE);
      try {
        return entryOf(resolve(root.fd, path));
      } catch (error) {
        if (errorCode(error) !== "EACCES") throw error;
      }
      return withRights(side, root, path);
    },
  };
}

function resolve(root: number, path: string): number {
  for (let tried = 1; ; tried++) {
    try {
      return openat2(root, path, O_PATH | O_DIRECTORY);
    } catch (error) {
      if (errorCode(error) !== "EAGAIN" || tried === TRIES) throw error;
    }
  }
}

/**
 * Where somebody's directory on the way is closed to others, root goes on: but where it belongs to none of the machine's
 * users. So where the path leads is found with all rights, and gone to, directory by directory, with those over each.
 */
function withRights(side: Side, root: Entry, path: string): Entry {
  side.use(root);
  const found = resolve(root.fd, path);
  const [start, end] = [root.fd, found].map((fd) => readlinkSync(`/proc/self/fd/${fd}`, { encoding: "buffer" }));
  closeQuietly(found);
  const below = (end ?? Buffer.alloc(0)).subarray(start?.length === 1 ? 0 : start?.length);
  let at = root;
  for (const name of partsOf(below)) {
    side.use(at);
    const next = entryOf(openBelow(at.fd, name, O_PATH | O_DIRECTORY));
    if (at !== root) closeQuietly(at.fd);
    at = next;
  }
  return at;
}

function partsOf(path: Buffer): Buffer[] {
  const text = path.toString("latin1");
  return text
    .split("/")
    .filter((part) => part !== "")
    .map((part) => Buffer.from(part, "latin1"));
}

/** What is at `path` itself, a last link not followed; `path/` is the directory that it leads to. */
export function findSource({ side, directory }: Finder, path: string): Entry {
  const missing = (): BerthError => new BerthError(`there is no ${side.describe(quote(path))}`, { kind: "ENOENT" });
  try {
    if (path.endsWith("/") || [".", ".."].includes(posix.basename(path))) return directory(path);
    const parent = directory(posix.dirname(path));
    try {
      side.use(parent);
      return entryOf(openBelow(parent.fd, Buffer.from(posix.basename(path)), O_PATH));
    } finally {
      closeQuietly(parent.fd);
    }
  } catch (error) {
    throw ["ENOENT", "ENOTDIR", "ELOOP"].includes(errorCode(error) ?? "") ? missing() : error;
  }
}

/** The directory that it is to be in, and its name there; null: it is the root itself. */
export function findTarget({ side, directory }: Finder, path: string): { parent: Entry; name: Buffer | null } {
  const normal = posix.normalize(path).replace(/(?<=.)\/$/, "");
  if (normal === "/") return { parent: directory("/"), name: null };
  const parent = posix.dirname(normal);
  try {
    return { parent: directory(parent), name: Buffer.from(posix.basename(normal)) };
  } catch (error) {
    if (!["ENOENT", "ENOTDIR", "ELOOP"].includes(errorCode(error) ?? "")) throw error;
    throw new BerthError(`there is no directory ${side.describe(quote(parent))} to copy to`, {
      ...{ hint: "make it first", kind: "ENOENT" },
    });
  }
}
