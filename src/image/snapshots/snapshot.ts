import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { BerthError, errorCode, UsageError } from "../../errors.ts";
import type { Paths } from "../../host/paths.ts";
import { checkName, requireName } from "../../spec/name.ts";
import { suggest } from "../../spec/nearest.ts";
import { quote } from "../../spec/quote.ts";
import { isSubvolume } from "../../sys/btrfs.ts";
import type { Driver } from "../driver.ts";
import { directoryDriver } from "../drivers/directory.ts";
import { rawDriver } from "../drivers/raw.ts";
import { stackDriver } from "../drivers/stack.ts";
import { subvolumeDriver } from "../drivers/subvolume.ts";
import { isImageName } from "../image.ts";
import { SNAPSHOTS } from "./places.ts";
import type { SavedSettings } from "./saved-settings.ts";

/**
 * Snapshots of an image lie hidden in the store, each a directory that is there whole or not at all:
 * `.berth-snapshots/NAME/SNAP/` with `image` (and the driver's suffix), `settings/` and `snapshot.json`.
 */
const FILE = "snapshot.json";
const VERSION = 1;
const PRIVATE = 0o700;

export interface SnapshotInfo {
  /** Of the image. */
  readonly image: string;
  readonly name: string;
  /** ms since the epoch. */
  readonly time: number;
  readonly comment: string;
  readonly driver: string;
  /** Whether a machine ran from the image. */
  readonly running: boolean;
  /** For how long its processes were stopped meanwhile, ms; null: nothing had to be. */
  readonly frozenMs: number | null;
  /** Of a state that a rollback replaced: the snapshot that it went back to. Null: it was asked for. */
  readonly replacedBy: string | null;
  /** The berth that made it. */
  readonly berth: string;
}

export interface Snapshot extends SnapshotInfo {
  readonly directory: string;
  readonly settings: readonly SavedSettings[];
  readonly number?: number;
}

/** What is in the file; the names are those of its directories. */
export interface Written extends Omit<SnapshotInfo, "image" | "name"> {
  readonly settings: readonly SavedSettings[];
  /** Which one of its image it is: a clock can be put back. Those of earlier versions have none. */
  readonly number?: number;
}

/** Where those of an image are. */
export function snapshotsOf({ machines }: Paths, image: string): string {
  if (!isImageName(image)) requireName(image);
  return join(machines, SNAPSHOTS, image);
}

/** Makes that directory, for its owner alone. */
export function makeSnapshotsOf(paths: Paths, image: string): string {
  const directory = snapshotsOf(paths, image);
  mkdirSync(directory, { recursive: true, mode: PRIVATE });
  return directory;
}

/** `web@snap0` to image and snapshot; null: it names no snapshot. */
export function splitSnapshotName(name: string): { readonly image: string; readonly snapshot: string } | null {
  const at = name.indexOf("@");
  return at < 0 ? null : { image: name.slice(0, at), snapshot: name.slice(at + 1) };
}

/** @throws UsageError */
export function requireSnapshotName(name: string): void {
  const fault = checkName(name);
  if (fault === undefined) return;
  throw new UsageError(
    fault.what.replace(/^machine/, "snapshot"),
    fault.suggestion === undefined ? undefined : `${fault.suggestion} would do`,
  );
}

/** The oldest first. */
export function listSnapshots(paths: Paths, image: string): readonly Snapshot[] {
  return namesIn(snapshotsOf(paths, image))
    .flatMap((name) => readSnapshot(paths, image, name) ?? [])
    .sort((a, b) => (a.number ?? 0) - (b.number ?? 0) || a.time - b.time || (a.name < b.name ? -1 : 1));
}

/** For one that is being made. */
export function nextNumber(paths: Paths, image: string): number {
  return 1 + Math.max(0, ...listSnapshots(paths, image).map(({ number = 0 }) => number));
}

/** The names alone, sorted. */
export function snapshotNames(paths: Paths, image: string): readonly string[] {
  return namesIn(snapshotsOf(paths, image)).sort();
}

/** Names of the images that have some. */
export function imagesWithSnapshots({ machines }: Paths): readonly string[] {
  return entries(join(machines, SNAPSHOTS)).sort();
}

/** @throws BerthError of kind NoSuchImage */
export function findSnapshot(paths: Paths, image: string, name: string): Snapshot {
  requireSnapshotName(name);
  const found = readSnapshot(paths, image, name);
  if (found !== null) return found;
  const names = snapshotNames(paths, image);
  throw new BerthError(`image ${image} has no snapshot ${quote(name)}`, {
    kind: "NoSuchImage",
    hint:
      suggest(name, names) ??
      (names.length === 0 ? `it has none: berth snapshot ${image} makes one` : `berth snapshots ${image} shows them`),
  });
}

/** The tree or file that a snapshot keeps, and what keeps it. */
export function snapshotImage({ directory, image, name }: Snapshot): {
  readonly path: string;
  readonly driver: Driver;
} {
  const raw = join(directory, `image${rawDriver.suffix}`);
  if (statSync(raw, { throwIfNoEntry: false })?.isFile()) return { path: raw, driver: rawDriver };
  const stack = join(directory, `image${stackDriver.suffix}`);
  if (statSync(stack, { throwIfNoEntry: false })?.isDirectory()) return { path: stack, driver: stackDriver };
  const path = join(directory, "image");
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new BerthError(`snapshot ${image}@${name} is damaged: it has no tree`, {
      hint: `berth remove ${image}@${name}`,
    });
  return { path, driver: isSubvolume(path) ? subvolumeDriver : directoryDriver };
}

export function writtenForm(written: Written): string {
  return `${JSON.stringify({ version: VERSION, ...written }, null, 1)}\n`;
}

/** Where it is written in a snapshot's directory. */
export function fileIn(directory: string): string {
  return join(directory, FILE);
}

/** Null: there is none, or none that can be read. */
function readSnapshot(paths: Paths, image: string, name: string): Snapshot | null {
  const directory = join(snapshotsOf(paths, image), name);
  try {
    const { version, ...written } = JSON.parse(readFileSync(fileIn(directory), "utf8")) as Written & {
      version: number;
    };
    return version === VERSION ? { ...written, image, name, directory } : null;
  } catch {
    return null;
  }
}

/** Names of snapshots: what is being made or removed has none. */
function namesIn(directory: string): string[] {
  return entries(directory).filter((name) => checkName(name) === undefined);
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
}
