import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { BerthError, firstError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { isPending } from "../host/pending-tree.ts";
import { syncTree } from "../host/to-disk.ts";
import { readFileSystem } from "../host/tree-facts.ts";
import { releaseStill } from "../machine/still.ts";
import { requireName } from "../spec/name.ts";
import { suggest } from "../spec/nearest.ts";
import { quote } from "../spec/quote.ts";
import { isBtrfs } from "../sys/btrfs.ts";
import { monotonic } from "../sys/clock.ts";
import { markReadOnly, removeImage, renameImage, requireNotHost } from "./changes.ts";
import { type CloneOptions, cloneImage } from "./clone.ts";
import { countDisk } from "./count-disk.ts";
import { cloneDriver, type FoundImage, findImage, findImages, findSource, HOST } from "./discover.ts";
import { directoryDriver } from "./drivers/directory.ts";
import { stackDriver } from "./drivers/stack.ts";
import { finishMoves } from "./half-moved.ts";
import { type ImageInfo, isHidden, isImageName, noSuchImage } from "./image.ts";
import { type Inside, readInside } from "./inside.ts";
import { LaterWrites, type OnFailure, settleOthers } from "./later-writes.ts";
import { sweepLayers } from "./layers.ts";
import { lockImage, sweepLocks } from "./locks.ts";
import { lostImages, removeLost, settleAll } from "./lost.ts";
import { type Fill, type MakeOptions, makeImage } from "./make.ts";
import { hiddenInLayer, obstacleNow } from "./obstacle.ts";
import { limitPool, poolLimit } from "./pool-limit.ts";
import { sweepCopies } from "./settings-follow.ts";
import { finishRollbacks } from "./snapshots/half-rollback.ts";
import { requireSnapshotName, splitSnapshotName } from "./snapshots/snapshot.ts";
import { sweepWorkspaces } from "./workspace.ts";

/** The store as a whole. */
export interface Pool {
  readonly path: string;
  /** Bytes on the disk; null: not known. */
  readonly usage: number | null;
  readonly limit: number | null;
}

export interface Cleaned {
  readonly name: string;
  readonly usage: number | null;
}

/** ms that counting one of them may take. */
const CLEAN_PATIENCE = 10_000;

interface Described {
  readonly info: ImageInfo;
  readonly identity: string | undefined;
  readonly parentIdentity: string | undefined;
}

/** ms that what was counted of the store is good for. */
const COUNT_MS = 5000;
/** Trees that are counted at a time. */
const AT_ONCE = 4;

/** The images of one root. */
export class ImageStore {
  readonly paths: Paths;
  readonly #later: LaterWrites | undefined;
  /** What was last counted, by path. Counting a tree takes as long as reading its directories. */
  readonly #usage = new Map<string, Pick<ImageInfo, "usage" | "usageExclusive">>();
  /** All that the store holds. */
  #counted: { readonly usage: Promise<number | null>; readonly until: number } | undefined;

  /** Of disk images, by path. */
  readonly #inside = new Map<string, { readonly inside: Promise<Inside>; readonly until: number }>();

  /** `onProblem`: given by a process that goes on, so that new images may appear before they are on the disk; hears what went wrong with them. */
  constructor(paths: Paths, onProblem?: (problem: string) => void) {
    this.paths = paths;
    this.#later = onProblem && new LaterWrites((...failure) => this.#notWritten(failure, onProblem));
  }

  /** All of them by name, hidden ones and the host's own tree included. Reads no tree, so that it is fast. */
  list(): readonly ImageInfo[] {
    const fsType = this.#fsType();
    const images = findImages(this.paths).flatMap((found) => this.#describe(found, fsType) ?? []);
    const host = this.#describe(HOST, readFileSystem("/").fsType) ?? [];
    const names = new Map(images.map(({ info, identity }) => [identity, info.name]));
    return [host, images].flat().map(({ info, parentIdentity }) => ({
      ...info,
      parent: (parentIdentity === undefined ? undefined : names.get(parentIdentity)) ?? null,
    }));
  }

  /** Of a snapshot, `NAME@SNAP`, as well. @throws BerthError of kind NoSuchImage */
  get(name: string): ImageInfo {
    const found = this.#describe(this.#source(name), this.#fsType());
    if (found === null) throw noSuchImage(name, "it has just been removed");
    // Only all of them know whose snapshot it is.
    if (found.parentIdentity === undefined) return found.info;
    return this.list().find((image) => image.name === name) ?? found.info;
  }

  /** Why it is kept as it is, and what a clone of it would be now: for who asks about one, as that takes a look at machines, snapshots and all files. */
  async whyNow(name: string): Promise<string> {
    const image = this.#source(name);
    if (image === HOST || image.driver !== directoryDriver || cloneDriver(this.paths.machines) !== stackDriver)
      return image.driver.why(this.#fsType());
    const obstacle = obstacleNow(this.paths, image) ?? (await hiddenInLayer(image));
    return image.driver.why(this.#fsType(), obstacle?.why);
  }

  /** Counts what images use, so that `list` and `get` know it. Those that take longer than `within` ms are left as they were. */
  async measure(names: readonly string[], within: number): Promise<void> {
    const signal = AbortSignal.timeout(within);
    const left = names.map((name) => this.#source(name));
    const count = async (): Promise<void> => {
      for (let image = left.pop(); image !== undefined && !signal.aborted; image = left.pop()) {
        const usage = await image.driver.measure(image.path, signal).catch(() => null);
        const own = (await image.driver.measureOwn?.(image.path, signal).catch(() => null)) ?? null;
        if (usage !== null) this.#usage.set(image.path, { usage, usageExclusive: own });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, count));
  }

  /** The same of the store; anybody may ask, as often as they like, so it is counted once in a while only. */
  async pool(within: number): Promise<Pool> {
    const path = this.paths.machines;
    if (this.#counted === undefined || monotonic() > this.#counted.until)
      this.#counted = { usage: this.#countPool(within), until: monotonic() + COUNT_MS };
    return { path, usage: await this.#counted.usage, limit: poolLimit(this.paths) };
  }

  async #countPool(within: number): Promise<number | null> {
    const path = this.paths.machines;
    return (await exists(path)) ? countDisk(path, AbortSignal.timeout(within), isBtrfs(path)).catch(() => null) : 0;
  }

  /** @throws BerthError; nothing is there then */
  async clone(name: string, to: string, options: CloneOptions): Promise<void> {
    await removeLost(this.paths, to);
    await cloneImage(this.paths, this.#source(name), to, { ...options, later: this.#later });
  }

  /**
   * Makes an image of the tree that `fill` puts into the empty directory it gets.
   * @throws BerthError; nothing is left then
   */
  async make(options: Omit<MakeOptions, "later">, fill: Fill): Promise<string> {
    await removeLost(this.paths, options.name);
    if (options.replace && findImage(this.paths, options.name) !== null)
      await settleOthers(this.paths.machines, options.name);
    return makeImage(this.paths, { ...options, later: this.#later }, fill);
  }

  /** Resolves when all that has appeared is on the disk. */
  async written(): Promise<void> {
    await this.#later?.ended();
  }

  /** What is not whole on the disk is no image, whatever the kernel still has of it in memory. */
  async #notWritten([place, now, error]: Parameters<OnFailure>, onProblem: (problem: string) => void): Promise<void> {
    const name = basename(now ?? place);
    onProblem(`image ${name} could not be written to the disk: ${messageOf(error)}`);
    try {
      if (now !== null && isPending(now)) await removeImage(this.paths, this.find(name), false);
    } catch (failed) {
      onProblem(`image ${name} is not whole and could not be removed: ${messageOf(failed)}`);
    }
  }

  /** Lets nobody remove or rename an image while `use` reads its tree. */
  async read<T>(name: string, use: (image: ImageInfo) => Promise<T>): Promise<T> {
    const image = this.get(name);
    using _exported = lockImage(this.paths, splitSnapshotName(name)?.image ?? name, "exported");
    return await use(image);
  }

  async rename(name: string, to: string): Promise<void> {
    const image = this.find(name);
    await removeLost(this.paths, to);
    await renameImage(this.paths, image, to);
    this.#usage.delete(image.path);
  }

  /** `snapshots`: with those that it has; else one that has some is left alone. */
  async remove(name: string, snapshots = false): Promise<void> {
    const image = this.find(name);
    this.#usage.delete(image.path);
    await settleOthers(this.paths.machines, name);
    await removeImage(this.paths, image, snapshots);
  }

  async setReadOnly(name: string, readOnly: boolean): Promise<void> {
    await markReadOnly(this.paths, this.find(name), readOnly);
  }

  /** `limit`: bytes; null takes it away. @throws BerthError where the image can't have one */
  async setLimit(name: string, limit: number | null): Promise<void> {
    const image = this.find(name);
    const { path, driver } = image;
    requireNotHost(image, "limited");
    driver.setLimit(path, limit);
    await syncTree(path);
  }

  /** `limit`: bytes; null takes it away. @throws BerthError where the store can't have one */
  async setPoolLimit(limit: number | null): Promise<void> {
    await limitPool(this.paths, limit);
  }

  /** Removes images that are lost, and those that are hidden, or all, but those in use. What they used, where that could be counted. `onKept`: hears why one in use stays. */
  async clean(which: "hidden" | "all", onKept?: (why: string) => void): Promise<readonly Cleaned[]> {
    const names = findImages(this.paths).map(({ name }) => name);
    const cleaned: Cleaned[] = [];
    const failures: unknown[] = [];
    for (const name of (await exists(this.paths.machines)) ? lostImages(this.paths) : [])
      try {
        await removeLost(this.paths, name);
        cleaned.push({ name, usage: null });
      } catch (error) {
        failures.push(error); // the others go all the same
      }
    for (const name of names.filter((each) => which === "all" || isHidden(each))) {
      await this.measure([name], CLEAN_PATIENCE);
      const { usage } = this.get(name);
      try {
        await this.remove(name);
      } catch (error) {
        if (!(error instanceof BerthError) || error.kind !== "Busy") throw error;
        onKept?.(error.message);
        continue;
      }
      cleaned.push({ name, usage });
    }
    if (failures.length > 0) throw failures[0];
    return cleaned;
  }

  /**
   * Removes what those left who were killed while they made or removed an image. Answers with the images that are lost: nobody knows
   * what they lack, and they stay until somebody says that they may go, by `clean` or by making another one of that name.
   * `onSwept`: hears what of the store has gone.
   */
  async sweep(onSwept?: (name: string) => void): Promise<readonly string[]> {
    if (await exists(this.paths.machines)) {
      await sweepWorkspaces(this.paths.machines, onSwept);
      await sweepLayers(this.paths.machines);
    }
    sweepLocks(this.paths);
    sweepCopies(this.paths);
    finishMoves(this.paths);
    await finishRollbacks(this.paths);
    await releaseStill(this.paths, () => undefined);
    if (!(await exists(this.paths.machines))) return [];
    await settleAll(this.paths);
    return lostImages(this.paths);
  }

  /** What an image says of itself. Anybody may ask, as often as they like, so a disk image is mounted once in a while only. */
  async inside(name: string): Promise<Inside> {
    const { path, type } = this.get(name);
    if (type !== "raw") return readInside(path);
    const known = this.#inside.get(path);
    if (known !== undefined && monotonic() < known.until) return known.inside;
    const inside = readInside(path);
    this.#inside.set(path, { inside, until: monotonic() + COUNT_MS });
    return inside;
  }

  /** Where an image lies. @throws BerthError of kind NoSuchImage */
  find(name: string): FoundImage {
    if (splitSnapshotName(name) !== null)
      throw new BerthError(`${quote(name)} is a snapshot: that can't be done with it`, {
        hint: `berth clone ${name} NEW makes an image of it`,
        kind: "NotSupported",
      });
    this.requireImageName(name);
    const found = findImage(this.paths, name);
    if (found !== null) return found;
    const names = findImages(this.paths).map((image) => image.name);
    throw noSuchImage(name, suggest(name, names) ?? hintOf(names, this.paths.machines));
  }

  /** Of one that may be there, a snapshot as well. @throws UsageError */
  requireImageName(name: string): void {
    const snapshot = splitSnapshotName(name);
    if (snapshot !== null) {
      this.requireImageName(snapshot.image);
      requireSnapshotName(snapshot.snapshot);
    } else if (!isImageName(name) && name !== HOST.name) requireName(name);
  }

  /** What only reads may also be of a snapshot. */
  #source(name: string): FoundImage {
    return (splitSnapshotName(name) === null ? null : findSource(this.paths, name)) ?? this.find(name);
  }

  /** Null: it went meanwhile. */
  #describe({ name, path, driver }: FoundImage, fsType: string): Described | null {
    try {
      const { identity, parentIdentity, ...state } = driver.read(path);
      const info = {
        ...{ name, path, type: driver.type, parent: null },
        ...{ usage: null, limit: null, usageExclusive: null, limitExclusive: null, layers: [] },
        ...this.#usage.get(path),
        ...state,
        readOnly: state.readOnly || driver.isNeverWritten?.(path) === true,
        ...{ driver: driver.name, why: driver.why(fsType) },
      };
      return { info, identity, parentIdentity };
    } catch {
      return null;
    }
  }

  #fsType(): string {
    return readFileSystem(this.paths.machines).fsType;
  }
}

function messageOf(error: unknown): string {
  const first = firstError(error);
  return first instanceof Error ? first.message : String(first);
}

function hintOf(names: readonly string[], store: string): string {
  const visible = names.filter((name) => !isHidden(name));
  return visible.length === 0 ? `${store} has no images` : "berth list-images shows those there are";
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
