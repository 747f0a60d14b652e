import { renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { BerthError } from "../../errors.ts";
import type { Paths } from "../../host/paths.ts";
import { syncPath } from "../../host/to-disk.ts";
import { renameNoReplace } from "../../sys/files.ts";
import type { FoundImage } from "../discover.ts";
import { stackDriver } from "../drivers/stack.ts";
import { settleOthers } from "../later-writes.ts";
import { collectLayers, lockMoves } from "../layers.ts";
import { lockImage } from "../locks.ts";
import { ImageStore } from "../store.ts";
import { createWorkspace } from "../workspace.ts";
import { finishLocked } from "./half-rollback.ts";
import { type RollbackOptions, replacedStates, rollBack } from "./rollback.ts";
import {
  findSnapshot,
  imagesWithSnapshots,
  listSnapshots,
  requireSnapshotName,
  type Snapshot,
  type SnapshotInfo,
  snapshotImage,
  snapshotNames,
} from "./snapshot.ts";
import { type SnapshotOptions, taken, takeSnapshot } from "./take.ts";

/** Snapshots of the images of one root: what is done with them, each under the lock of its image. */
export class Snapshots {
  readonly #store: ImageStore;

  constructor(store: ImageStore) {
    this.#store = store;
  }

  get #paths(): Paths {
    return this.#store.paths;
  }

  /** @throws BerthError of kind NoSuchImage */
  find(image: string): FoundImage {
    return this.#store.find(image);
  }

  take(image: string, options: SnapshotOptions): Promise<SnapshotInfo> {
    return takeSnapshot(this.#paths, this.#store.find(image), options);
  }

  /** Names of the images that have some. */
  images(): readonly string[] {
    return imagesWithSnapshots(this.#paths).filter((image) => snapshotNames(this.#paths, image).length > 0);
  }

  /** The oldest first. */
  list(image: string): readonly SnapshotInfo[] {
    const { name } = this.#store.find(image);
    return listSnapshots(this.#paths, name).map(infoOf);
  }

  async remove(image: string, name: string): Promise<void> {
    using _changed = lockImage(this.#paths, this.#store.find(image).name, "changed");
    await this.#discard(findSnapshot(this.#paths, image, name));
  }

  async rename(image: string, name: string, to: string): Promise<void> {
    requireSnapshotName(to);
    using _layers = await lockMoves(this.#paths.machines);
    using _changed = lockImage(this.#paths, this.#store.find(image).name, "changed");
    const { directory } = findSnapshot(this.#paths, image, name);
    try {
      renameNoReplace(directory, join(directory, "..", to));
    } catch (error) {
      throw listSnapshots(this.#paths, image).some((each) => each.name === to) ? taken({ image, name: to }) : error;
    }
    await syncPath(join(directory, ".."));
  }

  /** Null: to the newest that somebody asked for. Returns the name that what was there has now. */
  async rollBack(image: string, name: string | null, options: RollbackOptions): Promise<string> {
    const found = this.#store.find(image);
    return rollBack(
      this.#paths,
      found,
      name === null ? this.#newest(image) : findSnapshot(this.#paths, image, name),
      options,
    );
  }

  /** Back to what the last rollback has replaced, which is no snapshot then; what it has put there becomes one. */
  async undo(image: string, options: RollbackOptions): Promise<string> {
    const last = this.#replaced(image);
    const kept = await this.rollBack(image, last.name, options);
    await this.remove(image, last.name);
    return kept;
  }

  /** Removes what rollbacks have replaced. Returns the names. */
  async confirm(image: string): Promise<readonly string[]> {
    using _changed = lockImage(this.#paths, this.#store.find(image).name, "changed");
    await finishLocked(this.#paths, image);
    this.#replaced(image);
    const all = replacedStates(this.#paths, image);
    for (const snapshot of all) await this.#discard(snapshot);
    return all.map(({ name }) => name);
  }

  /** Of those that somebody asked for. @throws BerthError of kind NoSuchImage */
  newest(image: string): SnapshotInfo {
    return infoOf(this.#newest(image));
  }

  #newest(image: string): Snapshot {
    const newest = listSnapshots(this.#paths, this.#store.find(image).name)
      .filter(({ replacedBy }) => replacedBy === null)
      .at(-1);
    if (newest !== undefined) return newest;
    throw new BerthError(`image ${image} has no snapshot`, {
      hint: `berth snapshot ${image} makes one`,
      kind: "NoSuchImage",
    });
  }

  #replaced(image: string): Snapshot {
    const last = replacedStates(this.#paths, image).at(-1);
    if (last !== undefined) return last;
    throw new BerthError(`image ${image} was not rolled back, or that is confirmed already`, {
      hint: `berth snapshots ${image} shows where it can go back to`,
      kind: "NoSuchImage",
    });
  }

  /** It is gone at once, its files soon after. */
  async #discard(snapshot: Snapshot): Promise<void> {
    await settleOthers(this.#paths.machines, snapshot.image);
    await using workspace = await createWorkspace(this.#paths.machines, snapshot.image.replace(/^\./, ""));
    const rest = join(workspace.path, "snapshot");
    renameSync(snapshot.directory, rest);
    await syncPath(dirname(snapshot.directory));
    try {
      const { path, driver } = snapshotImage({ ...snapshot, directory: rest });
      driver.discard?.(path);
      if (driver === stackDriver) {
        // As what is being removed it names no layers any more.
        renameSync(path, join(workspace.path, "image"));
        await collectLayers(this.#paths.machines, workspace.path);
      }
    } catch (error) {
      if (!(error instanceof BerthError)) throw error; // a damaged one goes file by file
    }
  }
}

export function openSnapshots(paths: Paths): Snapshots {
  return new Snapshots(new ImageStore(paths));
}

function infoOf({ directory: _, settings: __, ...info }: Snapshot): SnapshotInfo {
  return info;
}
