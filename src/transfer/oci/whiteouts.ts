import { closeSync, fchmodSync, fstatSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { BerthError, errorCode } from "../../errors.ts";
import { runConfined } from "../../host/confine.ts";
import { O_PATH } from "../../sys/constants.ts";
import { makeWhiteout, openBelow, removeEntry, setTimes } from "../../sys/entries.ts";
import { O_DIRECTORY } from "../../sys/files.ts";
import { changeOwner, getAttribute, setAttribute } from "../../sys/owners.ts";
import { EXTRACT_CAPABILITIES } from "../extract.ts";

/**
 * Makes of an unpacked layer what overlayfs lays over others: of whiteouts devices 0:0, of opaque directories ones that an
 * attribute says so of. What is in it is reached from its root by fds, through no link.
 */

/** More is no image's; names are as long as who made the layer likes. */
const NAMES_MAX = 200_000;
const BYTES_MAX = 16 << 20;

/** Names of bytes, each ended by a zero: `whiteouts`, and directories that tar(1) made by itself. Into files, as there may be any number. */
const LIST = `
as_owner() { with_capabilities ${EXTRACT_CAPABILITIES} "$@"; }
list() { as_owner find "$@" -printf '%P\\0' | head -c ${BYTES_MAX + 1}; }
list layer -mindepth 1 -name '.wh.*' >whiteouts
list layer -type d -newer begun >ways
`;

/** ms: then others get their turn. */
const AT_ONCE = 5;
const PREFIX = Buffer.from(".wh.");
const OPAQUE = "user.overlay.opaque";
const SLASH = 0x2f;
const HERE = Buffer.from(".");

/** `directory` has `layer`, and `begun`, which is older. `lower`: the layers below, topmost first. @throws BerthError */
export async function convertLayer(directory: string, lower: readonly string[], signal: AbortSignal): Promise<void> {
  const { whiteouts, ways } = await namesIn(directory, signal);
  const root = openSync(`${directory}/layer`, O_DIRECTORY);
  const below = lower.map((path) => openSync(path, O_PATH | O_DIRECTORY));
  const inTurns = async (paths: readonly Buffer[], act: (path: Buffer) => void): Promise<void> => {
    let began = performance.now();
    for (const path of paths) {
      act(path);
      if (performance.now() - began < AT_ONCE) continue;
      await turn(undefined, { signal });
      began = performance.now();
    }
  };
  try {
    await inTurns(whiteouts, (path) => convert(root, path, below));
    await inTurns(ways, (path) => leaveAsBelow(root, path, below));
  } finally {
    for (const fd of [root, ...below]) closeSync(fd);
  }
}

async function namesIn(directory: string, signal: AbortSignal): Promise<{ whiteouts: Buffer[]; ways: Buffer[] }> {
  const { ok, tail, status } = await runConfined(LIST, [], { directory, writable: true, signal });
  if (!ok) throw new BerthError(`a layer of the image is refused: ${tail.at(-1) ?? status}`);
  return { whiteouts: await readNames(join(directory, "whiteouts")), ways: await readNames(join(directory, "ways")) };
}

async function readNames(path: string): Promise<Buffer[]> {
  const bytes = await readFile(path);
  const names: Buffer[] = [];
  for (let at = 0; at < bytes.length && names.length <= NAMES_MAX; ) {
    const end = bytes.indexOf(0, at);
    names.push(bytes.subarray(at, end < 0 ? bytes.length : end));
    at = (end < 0 ? bytes.length : end) + 1;
  }
  if (bytes.length > BYTES_MAX || names.length > NAMES_MAX)
    throw new BerthError("a layer of the image is refused: it takes away more than any image has");
  return names;
}

function convert(root: number, path: Buffer, below: readonly number[]): void {
  const slash = path.lastIndexOf(SLASH);
  const entry = path.subarray(slash + 1);
  const name = entry.subarray(PREFIX.length);
  const parent = slash < 0 ? HERE : path.subarray(0, slash);
  const directory = openBelow(root, parent, O_DIRECTORY);
  try {
    const times = fstatSync(directory, { bigint: true });
    removeMark(directory, entry, path);
    if (name.toString("latin1") === ".wh..opq") setOpaque(directory);
    // Of aufs, and nobody's business: no whiteout of a whiteout.
    else if (!name.subarray(0, PREFIX.length).equals(PREFIX)) {
      if (["", ".", ".."].includes(name.toString("latin1"))) throw refused(path, "a whiteout of nothing");
      // overlayfs shows those that hide nothing to who lists the directory.
      if (isThere(parent, name, below)) hide(directory, name);
    }
    setTimes(directory, times);
  } finally {
    closeSync(directory);
  }
}

/** Whether the layers below, laid over each other, have such a thing. */
function isThere(parent: Buffer, name: Buffer, below: readonly number[]): boolean {
  for (const layer of below) {
    const directory = openPart(layer, parent, O_PATH | O_DIRECTORY);
    if (directory === "nothing") continue;
    // What is there instead hides what is below it.
    if (directory === "other") return false;
    try {
      const entry = openPart(directory, name, O_PATH);
      if (typeof entry === "number") {
        const stat = fstatSync(entry);
        closeSync(entry);
        return !(stat.isCharacterDevice() && stat.rdev === 0);
      }
      if (entry === "other" || getAttribute(directory, OPAQUE) !== null) return entry === "other";
    } finally {
      closeSync(directory);
    }
  }
  return false;
}

/** `other`: there is something, but not that. */
function openPart(directory: number, name: Buffer, flags: number): number | "nothing" | "other" {
  try {
    return openBelow(directory, name, flags);
  } catch (error) {
    const code = errorCode(error) ?? "";
    if (code === "ENOENT") return "nothing";
    if (["ENOTDIR", "ELOOP", "EXDEV"].includes(code)) return "other";
    throw error;
  }
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
function leaveAsBelow(root: number, path: Buffer, below: readonly number[]): void {
  const name = path.length === 0 ? HERE : path;
  for (const layer of below) {
    const theirs = openPart(layer, name, O_PATH | O_DIRECTORY);
    if (theirs === "nothing") continue;
    if (theirs === "other") return;
    const own = openBelow(root, name, O_DIRECTORY);
    try {
      const stat = fstatSync(theirs, { bigint: true });
      changeOwner(own, Number(stat.uid), Number(stat.gid));
      fchmodSync(own, Number(stat.mode) & 0o7777);
      setTimes(own, stat);
      return;
    } finally {
      for (const fd of [own, theirs]) closeSync(fd);
    }
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
