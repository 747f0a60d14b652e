import { lstatSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BerthError, errorCode } from "../../errors.ts";
import { berthVersion } from "../../host/installation.ts";
import { parseMountinfo } from "../../host/mountinfo.ts";
import type { Paths } from "../../host/paths.ts";
import { syncTree } from "../../host/to-disk.ts";
import { bootOf, runningFrom, whileStill, writersOf } from "../../machine/still.ts";
import { copyDisk } from "../copy-disk.ts";
import type { OnCopied } from "../copy-progress.ts";
import { bestDriver, type FoundImage } from "../discover.ts";
import type { Still } from "../driver.ts";
import { rawDriver } from "../drivers/raw.ts";
import { stackDriver } from "../drivers/stack.ts";
import { copyRunning } from "../follow/copy-running.ts";
import { holdTree } from "../hold-tree.ts";
import { HOST_IMAGE } from "../image.ts";
import { settle } from "../later-writes.ts";
import { lockImage } from "../locks.ts";
import { makeShareable } from "../share.ts";
import { createWorkspace, prepareStore, publish } from "../workspace.ts";
import { saveOrigin, saveSettings } from "./saved-settings.ts";
import {
  fileIn,
  makeSnapshotsOf,
  nextNumber,
  requireSnapshotName,
  type Snapshot,
  type SnapshotInfo,
  snapshotNames,
  type Written,
  writtenForm,
} from "./snapshot.ts";

export interface SnapshotOptions {
  /** Null: `snap` and the next number. */
  readonly name: string | null;
  readonly comment: string;
  readonly signal: AbortSignal;
  /** Hears how far it is where files are copied. */
  readonly progress?: OnCopied | undefined;
}

/** Of the comment, which is for people. */
const COMMENT_MAX = 1000;

/**
 * Makes a snapshot of an image and its settings, which is there whole or not at all. The processes of a machine that runs
 * from it are stopped meanwhile, for as long as its driver needs: the files are those of one moment, as after a power cut.
 * @throws BerthError
 */
export async function takeSnapshot(paths: Paths, asked: FoundImage, options: SnapshotOptions): Promise<SnapshotInfo> {
  const { comment, signal } = options;
  if (comment.length > COMMENT_MAX)
    throw new BerthError(`the comment is longer than ${COMMENT_MAX} characters`, { kind: "InvalidArgs" });
  requireOwn(asked);
  const name = options.name ?? nextName(paths, asked.name);
  requireSnapshotName(name);
  requireFree(paths, asked.name, name);
  // A directory stays one: only what nothing has been written to since can be shared.
  const image = asked.driver === stackDriver ? await makeShareable(paths, asked) : asked;
  using _copied = lockImage(paths, image.name, "copied");
  // Else it could be lost, and its snapshot be left.
  await settle(image.path);
  await prepareStore(paths.machines);
  await using workspace = await createWorkspace(paths.machines, image.name.replace(/^\./, ""));
  const made = join(workspace.path, "snapshot");
  mkdirSync(made);
  using machines = holdMachines(paths, image);
  const time = Date.now();
  const { driver } = await copyStill(paths, image, join(made, `image${image.driver.suffix}`), machines.still, options);
  const written: Written = {
    ...{ time, number: nextNumber(paths, image.name) },
    comment,
    driver: driver.name,
    running: machines.running,
    frozenMs: tenths(machines.frozenMs()),
    replacedBy: null,
    berth: berthVersion(),
    settings: saveSettings(paths, image.name, join(made, "settings")),
  };
  saveOrigin(paths, image.name, made);
  writeFileSync(fileIn(made), writtenForm(written));
  signal.throwIfAborted();
  const directory = makeSnapshotsOf(paths, image.name);
  await publish(made, join(directory, name));
  const { settings: _, number: __, ...info } = written;
  return { ...info, image: image.name, name };
}

function tenths(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms * 10) / 10;
}

interface Machines extends Disposable {
  readonly running: boolean;
  readonly still: Still;
  frozenMs(): number | null;
}

/** Those that run from the image are stopped when it comes to that; where none does, none can be started. */
function holdMachines(paths: Paths, image: FoundImage): Machines {
  const running = runningFrom(image.path, paths).some(({ layer }) => layer === null);
  const tree = running || image.driver === rawDriver ? undefined : tryHold(paths, image);
  let ms: number | null = null;
  const during = async (act: () => Promise<void>): Promise<void> => {
    let all = act;
    const held = runningFrom(image.path, paths).map(bootOf);
    for (const machine of writersOf(image.path, paths)) {
      const inner = all;
      all = async () => {
        const { ms: stillMs } = await whileStill(machine, paths, inner);
        if (stillMs !== null) ms = Math.max(ms ?? 0, stillMs);
      };
    }
    await all();
    // It was booted again, by itself or as it had ended.
    const other = runningFrom(image.path, paths).find(
      (machine) => machine.layer === null && !held.includes(bootOf(machine)),
    );
    if (other !== undefined)
      throw new BerthError(`machine ${other.name} was started while its files were copied`, {
        kind: "Busy",
        hint: "try again",
      });
  };
  const still: Still = { isNeeded: () => writersOf(image.path, paths).length > 0, during };
  return { running, still, frozenMs: () => ms, [Symbol.dispose]: () => tree?.[Symbol.dispose]() };
}

/** What berth does not run, a container of systemd-nspawn's, can't be stopped: its files are copied as they are. */
function tryHold(paths: Paths, image: FoundImage): Disposable | undefined {
  try {
    return holdTree(image, paths);
  } catch (error) {
    if (error instanceof BerthError && error.kind === "Busy") return undefined;
    throw error;
  }
}

/**
 * An image whose file system is not the store's own is copied by files. What the kernel still has to write to a disk image it
 * writes also while the machine stands still.
 */
async function copyStill(
  paths: Paths,
  image: FoundImage,
  to: string,
  still: Still,
  { signal, progress }: SnapshotOptions,
): Promise<Pick<FoundImage, "driver">> {
  const { path, driver } = image;
  try {
    // What the kernel still has to write to a disk image it writes also while the machine stands still.
    if (driver === rawDriver) {
      await syncTree(path);
      await still.during(() => copyDisk(paths, image, to, signal, progress));
    } else await driver.snapshot(path, to, still, signal, progress);
    return { driver };
  } catch (error) {
    if (errorCode(error) !== "EXDEV") throw error;
  }
  const best = bestDriver(join(to, ".."));
  best.create(to);
  await copyRunning(path, to, still, signal, progress);
  return { driver: best };
}

/** One that lies in the store as itself, so that it can be replaced there. */
export function requireOwn({ name, path }: FoundImage): void {
  const not = (why: string, hint?: string): BerthError =>
    new BerthError(`image ${name} can have no snapshots: ${why}`, { kind: "NotSupported", hint });
  if (name === HOST_IMAGE) throw not("it is the host itself");
  if (lstatSync(path).isSymbolicLink())
    throw not(`${path} is a link to an image elsewhere`, `berth clone ${name} NEW makes one in the store`);
  const mounts = parseMountinfo(readFileSync("/proc/self/mountinfo", "utf8"));
  if (mounts.some(({ point }) => point === path)) throw not(`something is mounted at ${path}`);
}

/** `snap0`, `snap1`, ...: never one that was there after one that is. */
function nextName(paths: Paths, image: string): string {
  const numbers = snapshotNames(paths, image).flatMap((name) => {
    const [, digits] = /^snap(\d{1,9})$/.exec(name) ?? [];
    return digits === undefined ? [] : [Number(digits)];
  });
  return `snap${Math.max(-1, ...numbers) + 1}`;
}

function requireFree(paths: Paths, image: string, name: string): void {
  if (snapshotNames(paths, image).includes(name)) throw taken({ image, name });
}

export function taken({ image, name }: Pick<Snapshot, "image" | "name">): BerthError {
  return new BerthError(`image ${image} has a snapshot ${name} already`, {
    kind: "ImageExists",
    hint: `choose another name, or remove that one first: berth remove ${image}@${name}`,
  });
}
