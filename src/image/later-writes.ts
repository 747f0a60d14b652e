import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { errorCode } from "../errors.ts";
import { mountOfFd } from "../host/mount-table.ts";
import { clearPending, isLost, isMarked, isPending, markPending } from "../host/pending-tree.ts";
import { syncPath, syncTree } from "../host/to-disk.ts";
import { kindOfTree } from "../host/tree-place.ts";
import { isSubvolume } from "../sys/btrfs.ts";
import { openFileSystem } from "../sys/sync-fs.ts";
import { ordersChanges } from "./file-systems.ts";

/** A tree that is to appear before it is on the disk. Opened before it is made, as a write that failed is told of once. */
export interface LaterWrite extends Disposable {
  /** Marks it as pending. False: it has to be on the disk first. */
  mark(tree: string): Promise<boolean>;
  /** It has appeared there: brings it to the disk, beside all else. */
  begin(place: string): void;
}

/** `now`: where the tree is in the store by then; null: there no more. Another may have its place. */
export type OnFailure = (place: string, now: string | null, error: unknown) => Promise<void>;

/** What a process that goes on brings to the disk after it has appeared; `onFailure` hears of what could not be written. */
export class LaterWrites {
  readonly #going = new Set<Promise<void>>();
  readonly #onFailure: OnFailure;

  constructor(onFailure: OnFailure) {
    this.#onFailure = onFailure;
  }

  /** On the file system of `store`. */
  open(store: string): LaterWrite {
    const opened = new DisposableStack();
    const fileSystem = opened.use(openFileSystem(store));
    let tree = -1;
    let begun = false;
    const write = async (place: string): Promise<void> => {
      using _opened = opened;
      try {
        await fileSystem.sync();
        clearPending(tree);
        await syncPath(`/proc/self/fd/${tree}/.`);
      } catch (error) {
        await this.#onFailure(place, whereIs(tree, store), error);
      }
    };
    return {
      mark: async (path) => {
        // Of a subvolume a snapshot has the same inode, and so the mark; of one it is quick to wait for the disk.
        if (kindOfTree(path) !== "directory" || isSubvolume(path)) return false;
        tree = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
        opened.defer(() => closeSync(tree));
        if (!markPending(tree)) return false;
        const mount = mountOfFd(tree);
        if (mount === null || !ordersChanges(mount)) await syncPath(path);
        return true;
      },
      begin: (place) => {
        begun = true;
        const going: Promise<void> = write(place).finally(() => this.#going.delete(going));
        this.#going.add(going);
      },
      [Symbol.dispose]: () => {
        if (!begun) opened.dispose();
      },
    };
  }

  /** Resolves when nothing is left to be written. */
  async ended(): Promise<void> {
    while (this.#going.size > 0) await Promise.all(this.#going);
  }
}

function whereIs(tree: number, store: string): string | null {
  const path = join(store, basename(readlinkSync(`/proc/self/fd/${tree}`)));
  const [itself, there] = [fstatSync(tree), lstatSync(path, { throwIfNoEntry: false })];
  return itself.ino === there?.ino && itself.dev === there.dev ? path : null;
}

/** Brings a tree to the disk that is pending: for what may not be done to such a one. Of what has its name by then nothing is said. */
export async function settle(path: string): Promise<void> {
  if (!isPending(path)) return;
  let tree: number;
  try {
    tree = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return; // it has just been removed
    throw error;
  }
  try {
    if (!isMarked(tree)) return;
    const itself = `/proc/self/fd/${tree}/.`;
    await syncTree(itself);
    clearPending(tree);
    await syncPath(itself);
  } finally {
    closeSync(tree);
  }
}

/** Before something is removed or replaced for good: a copy of it that is pending would be lost, too. `name`: what goes. */
export async function settleOthers(store: string, name: string): Promise<void> {
  for (const other of readdirSync(store)) {
    const path = join(store, other);
    if (other !== name && !isLost(path)) await settle(path);
  }
}
