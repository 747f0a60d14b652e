import { type BigIntStats, closeSync, fchmodSync, fstatSync, openSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { BerthError, errorCode } from "../../errors.ts";
import { O_PATH } from "../../sys/constants.ts";
import { makeWhiteout, openBelow, removeEntry, setTimes } from "../../sys/entries.ts";
import { O_DIRECTORY } from "../../sys/files.ts";
import { changeOwner, setAttribute } from "../../sys/owners.ts";
import { LayersBelow, OPAQUE, type Pause, parentOf } from "./below.ts";
import { findNames, NAMES_MAX, tooMany } from "./names.ts";

/**
 * Makes of an unpacked layer what overlayfs lays over others: of whiteouts devices 0:0, of opaque directories ones that an
 * attribute says so of. What is in it is reached from its root by fds, through no link.
 */

/** ms: then others get their turn. */
const AT_ONCE = 5;
const PREFIX = Buffer.from(".wh.");
const ALL = Buffer.from(".wh..wh..opq");
const SLASH = 0x2f;
const HERE = Buffer.from(".");

export interface Unpacked {
  /** It has `layer`. */
  readonly directory: string;
  /** Of the layer (unpack.ts). */
  readonly ways: readonly Buffer[];
  /** The layers below, topmost first. */
  readonly lower: readonly string[];
}

/** @throws BerthError */
export async function convertLayer({ directory, ways, lower }: Unpacked, signal: AbortSignal): Promise<void> {
  const whiteouts = await findNames(directory, ["-mindepth", "1", "-name", ".wh.*"], signal);
  const root = openSync(`${directory}/layer`, O_DIRECTORY);
  const layers = lower.map((path) => openSync(path, O_PATH | O_DIRECTORY));
  const below = new LayersBelow(root, layers, pauses(signal));
  try {
    for (const path of outermostFirst(whiteouts)) await convert(root, path, below);
    for (const path of ways) await leaveAsBelow(root, path, below);
  } finally {
    for (const fd of [root, ...layers]) closeSync(fd);
  }
}

function pauses(signal: AbortSignal): Pause {
  let began = performance.now();
  return async () => {
    if (performance.now() - began < AT_ONCE) return;
    await turn(undefined, { signal });
    began = performance.now();
  };
}

/** A directory is opaque before what is in it is looked for below: nothing of that is there to be taken away. */
function outermostFirst(whiteouts: readonly Buffer[]): readonly Buffer[] {
  const ranks = whiteouts.map((path) => ({ path, rank: 2 * depthOf(path) + (nameOf(path).equals(ALL) ? 0 : 1) }));
  return ranks.sort((one, other) => one.rank - other.rank).map(({ path }) => path);
}

function depthOf(path: Buffer): number {
  return path.reduce((count, byte) => (byte === SLASH ? count + 1 : count), 0);
}

function nameOf(path: Buffer): Buffer {
  return path.subarray(path.lastIndexOf(SLASH) + 1);
}

async function convert(root: number, path: Buffer, below: LayersBelow): Promise<void> {
  const entry = nameOf(path);
  const name = entry.subarray(PREFIX.length);
  const parent = parentOf(path);
  const directory = openBelow(root, parent.length === 0 ? HERE : parent, O_DIRECTORY);
  try {
    const times = fstatSync(directory, { bigint: true });
    removeMark(directory, entry, path);
    if (entry.equals(ALL)) await (parent.length === 0 ? hideAll(directory, below) : setOpaque(directory));
    // Of aufs, and nobody's business: no whiteout of a whiteout.
    else if (!name.subarray(0, PREFIX.length).equals(PREFIX)) {
      if (["", ".", ".."].includes(name.toString("latin1"))) throw refused(path, "a whiteout of nothing");
      // overlayfs shows those that hide nothing to who lists the directory.
      if (await isThere(Buffer.concat([path.subarray(0, -entry.length), name]), below)) hide(directory, name);
    }
    setTimes(directory, times);
  } finally {
    closeSync(directory);
  }
}

/** In its root overlayfs shows what all layers have, opaque ones or not. */
async function hideAll(root: number, below: LayersBelow): Promise<void> {
  let count = 0;
  for (const name of below.namesInRoot()) {
    if (++count > NAMES_MAX) throw tooMany();
    if (await isThere(name, below)) hide(root, name);
  }
  below.hideAll();
}

async function isThere(path: Buffer, below: LayersBelow): Promise<boolean> {
  const entry = await below.open(path);
  if (entry === null) return false;
  const stat = fstatSync(entry);
  closeSync(entry);
  return !(stat.isCharacterDevice() && stat.rdev === 0);
}

function removeMark(directory: number, entry: Buffer, path: Buffer): void {
  try {
    removeEntry(directory, entry);
  } catch (error) {
    if (errorCode(error) !== "EISDIR") throw error;
    throw refused(path, "a whiteout that is a directory");
  }
}

function hide(directory: number, name: Buffer): void {
  try {
    makeWhiteout(directory, name);
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
    // What the layer has itself hides what is below, but for a directory, which would show it.
    hideBelow(directory, name);
  }
}

function hideBelow(directory: number, name: Buffer): void {
  let own: number;
  try {
    own = openBelow(directory, name, O_DIRECTORY);
  } catch {
    return;
  }
  try {
    setOpaque(own);
  } finally {
    closeSync(own);
  }
}

function setOpaque(directory: number): void {
  if (!setAttribute(directory, OPAQUE, Buffer.from("y")))
    throw new BerthError("the file system of the store keeps no attributes, which layers need", {
      kind: "NotSupported",
    });
}

/** A directory that the layer has only as a way to what is in it is as it was. */
async function leaveAsBelow(root: number, path: Buffer, below: LayersBelow): Promise<void> {
  const theirs = await below.open(path);
  if (theirs === null) return;
  try {
    const stat = fstatSync(theirs, { bigint: true });
    if (stat.isDirectory()) makeLike(root, path.length === 0 ? HERE : path, stat);
  } finally {
    closeSync(theirs);
  }
}

function makeLike(root: number, path: Buffer, stat: BigIntStats): void {
  const own = openBelow(root, path, O_DIRECTORY);
  try {
    changeOwner(own, Number(stat.uid), Number(stat.gid));
    fchmodSync(own, Number(stat.mode) & 0o7777);
    setTimes(own, stat);
  } finally {
    closeSync(own);
  }
}

function refused(path: Buffer, what: string): BerthError {
  return new BerthError(
    `a layer of the image is refused: ${what}: ${JSON.stringify(path.toString("utf8").slice(0, 200))}`,
    {
      hint: "nothing of it is left here",
    },
  );
}
