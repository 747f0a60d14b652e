import { randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { join } from "node:path";
import { errorCode } from "../errors.ts";
import { RW, rootsOf, type Stack } from "../host/stack.ts";
import { O_PATH } from "../sys/constants.ts";
import { setTimes } from "../sys/entries.ts";
import { O_DIRECTORY } from "../sys/files.ts";
import { getAttribute, listAttributes, setAttribute } from "../sys/owners.ts";

/** The files that a stack consists of, beside its layers. */

const PRIVATE = 0o700;

/** Of a stack, and of the one it is a copy of. */
export interface StackIdentity {
  readonly id: string;
  readonly parent: string | null;
  /** ms since the epoch: when the image was made that became this stack. Null: with the stack. */
  readonly created: number | null;
}

/** A hidden link, as that is one inode and no block: `ID PARENT CREATED`. */
const IDENTITY = ".berth";

export function newIdentity(parent: string | null, created: number | null = null): StackIdentity {
  return { id: randomBytes(8).toString("hex"), parent, created };
}

/** Null: another program has made it. */
export function readIdentity(stack: string): StackIdentity | null {
  try {
    const [id = "", parent = "", created = ""] = readlinkSync(join(stack, IDENTITY)).split(" ");
    return { id, parent: parent === "" ? null : parent, created: /^\d+$/.test(created) ? Number(created) : null };
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "EINVAL") return null;
    throw error;
  }
}

export interface NewStack {
  /** What its links say, the lowest first. */
  readonly links: readonly string[];
  readonly identity: StackIdentity;
  /** The directory whose owner, mode and attributes its root has. */
  readonly like: string;
}

/** Makes one at a path where nothing is, that nobody has written to. */
export function makeStack(path: string, { links, identity, like }: NewStack): void {
  mkdirSync(path, PRIVATE);
  links.forEach((link, index) => {
    symlinkSync(link, join(path, `layer@${String(index).padStart(2, "0")}`));
  });
  const { id, parent, created } = identity;
  symlinkSync(`${id} ${parent ?? ""}${created === null ? "" : ` ${created}`}`, join(path, IDENTITY));
  makeRw(path, like);
}

/** The place for what is written. */
export function makeRw(stack: string, like: string): void {
  const rw = join(stack, RW);
  mkdirSync(rw, PRIVATE);
  for (const part of ["work", "data"]) {
    mkdirSync(join(rw, part), PRIVATE);
    copyAttributes(like, join(rw, part), part === "data");
  }
}

/** The work directory is the kernel's, and belongs to whom the tree belongs to. */
function copyAttributes(from: string, to: string, all: boolean): void {
  const stat = statSync(from, { bigint: true });
  chownSync(to, Number(stat.uid), Number(stat.gid));
  if (!all) return;
  const [source, target] = [openSync(from, O_PATH | O_DIRECTORY), openSync(to, O_DIRECTORY)];
  try {
    for (const name of listAttributes(source).filter(isKept)) {
      const value = getAttribute(source, name);
      if (value !== null) setAttribute(target, name, value);
    }
    chmodSync(to, Number(stat.mode) & 0o7777);
    setTimes(target, stat);
  } finally {
    for (const fd of [source, target]) closeSync(fd);
  }
}

/** What overlayfs and the kernel put there is about another directory. */
function isKept(attribute: string): boolean {
  return !attribute.startsWith("user.overlay.") && !attribute.startsWith("trusted.");
}

/** Whether somebody has written to it. */
export function hasChanges(stack: Stack): boolean {
  if (stack.rw === null) return false;
  const data = join(stack.rw, "data");
  const below = stack.layers[0];
  if (readdirSync(data).length > 0 || below === undefined) return true;
  const [mine, its] = [statSync(data), statSync(below)];
  return mine.uid !== its.uid || mine.gid !== its.gid || mine.mode !== its.mode;
}

/** What the tree's root directory is like. */
export function topOf(stack: Stack): string {
  return rootsOf(stack)[0] ?? stack.path;
}
