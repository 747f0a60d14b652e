import { randomBytes } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, statSync } from "node:fs";
import { chmod, lstat, mkdir, readdir, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BerthError } from "../errors.ts";
import { forgetMark } from "../host/pending-tree.ts";
import { removeLargeTree } from "../host/remove-tree.ts";
import { isUnwritten } from "../host/stack.ts";
import { syncPath, syncTree } from "../host/to-disk.ts";
import { kindOfTree } from "../host/tree-place.ts";
import { setTopOfHierarchies } from "../sys/file-flags.ts";
import { renameNoReplace, tryLock } from "../sys/files.ts";
import { exchangeImages } from "./exchange.ts";
import type { LaterWrite } from "./later-writes.ts";

export const PREFIX = ".berth-making-";
const PRIVATE = 0o700;
const STICKY = 0o1000;
const ATTEMPTS = 10;

/**
 * A hidden directory beside the place where its contents will appear, 0700 from its first moment. It is locked while
 * its owner lives: flock(2) ends with the process however that ends, so what is not locked is left over, and swept.
 */
export interface Workspace extends AsyncDisposable {
  readonly path: string;
}

/** Makes one in `store` and sweeps what those who were killed left there. `name` is for the reader of `ls -a`. */
export async function createWorkspace(store: string, name: string): Promise<Workspace> {
  // What can't be removed is the sweep's to say, and in nobody's way.
  await sweepWorkspaces(store).catch(() => undefined);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const path = join(store, `${PREFIX}${name}-${randomBytes(6).toString("hex")}`);
    await mkdir(path, { mode: PRIVATE });
    const lock = lockDirectory(path);
    // Another's sweep can come between mkdir and flock; then this one is gone, or about to be.
    if (lock === undefined) continue;
    return {
      path,
      async [Symbol.asyncDispose]() {
        // That takes no process, where all has been moved out of it.
        await rmdir(path)
          .catch(() => removeLargeTree(path))
          .finally(() => closeSync(lock));
      },
    };
  }
  throw new BerthError(`cannot make a working directory in ${store}`);
}

/** `onSwept`: hears the name of each that has gone. */
export async function sweepWorkspaces(store: string, onSwept?: (name: string) => void): Promise<void> {
  const failures: unknown[] = [];
  for (const name of (await readdir(store)).filter((each) => each.startsWith(PREFIX))) {
    const path = join(store, name);
    const lock = lockDirectory(path);
    if (lock === undefined) continue;
    try {
      await removeLargeTree(path);
      onSwept?.(name);
    } catch (error) {
      failures.push(error); // the others are removed all the same
    } finally {
      closeSync(lock);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** An fd that holds the lock; undefined: somebody has it, or there is no such directory any more. */
function lockDirectory(path: string): number | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch {
    return undefined;
  }
  if (tryLock(fd, path) && isStill(path, fd)) return fd;
  closeSync(fd);
  return undefined;
}

function isStill(path: string, fd: number): boolean {
  return statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino;
}

/**
 * Lets a finished directory appear at `target`, which must not exist. Its contents are on the disk before, so that a
 * power cut leaves all of it or nothing: 60 to 500 ms for a tree of 100 MB here, where the copy itself took 300.
 * rename(2) would replace an empty directory, hence RENAME_NOREPLACE. With `later` they may come to the disk after it has
 * appeared: a power cut before that leaves no image. @throws BerthError
 */
export async function publish(finished: string, target: string, later?: LaterWrite): Promise<void> {
  // A stack of links alone has nothing in it to be lost: a journal brings it to the disk in order.
  const isNew = kindOfTree(finished) === "stack" && isUnwritten(finished);
  const isLater = !isNew && (await later?.mark(finished)) === true;
  if (!isLater) forgetMark(finished);
  if (!isNew && !isLater) await syncTree(finished);
  try {
    renameNoReplace(finished, target);
  } catch (error) {
    if (await exists(target)) throw alreadyThere(target);
    throw error;
  }
  if (isLater) later?.begin(target);
  else await syncPath(dirname(target));
}

/** The same in place of what is at `target`, which is then where `finished` was. */
export async function publishInstead(finished: string, target: string): Promise<void> {
  forgetMark(finished);
  await syncTree(finished);
  exchangeImages(finished, target);
  await syncPath(dirname(target));
}

export async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

export function alreadyThere(path: string): BerthError {
  return new BerthError(`${path} exists already`, {
    hint: "choose another name, or remove that one first",
    kind: "ImageExists",
  });
}

/**
 * Makes sure that `path` exists and lets only its owner in: trees hold setuid programs that no user of the host should
 * get at. A shared directory (sticky, as /tmp) is refused.
 *
 * On ext4 it is also marked as the top of unrelated hierarchies (chattr +T), so that each tree is put into a block
 * group with room: without a journal, ext4 avoids inodes freed in the last minutes one by one, and a copy next to a
 * tree that was just removed took 1.5 to 4 s instead of 0.3.
 */
export async function prepareStore(path: string): Promise<void> {
  await makePrivateDirectory(path);
  setTopOfHierarchies(path);
}

export async function makePrivateDirectory(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await mkdir(path, { mode: PRIVATE }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  const { mode } = await lstat(path);
  if (mode & STICKY) {
    throw new BerthError(`${path} is shared with other users, trees must not be kept there`, {
      hint: "choose a directory of its own, such as BERTH_ROOT=/srv/berth",
    });
  }
  if (mode & 0o077) await chmod(path, PRIVATE);
}
