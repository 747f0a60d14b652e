import { realpathSync, statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import type { FileSystemFacts, HostFacts, PathFacts, TreeFacts } from "../plan/facts.ts";
import { suggest } from "../spec/nearest.ts";
import { visible } from "../spec/quote.ts";
import { parseMachineId, timezoneOfLink } from "./identity.ts";
import { InRoot, showRoot, type TreeRoot } from "./in-root.ts";
import { discoverInit, initFault } from "./init.ts";
import { listTrees } from "./list-trees.ts";
import { keptMountinfo, readMounts } from "./mount-table.ts";
import { findMount, isReadOnly, mountOf } from "./mountinfo.ts";
import { OS_RELEASE_PATHS, parseOsRelease } from "./os-release.ts";
import { findTree, kindOfTree } from "./tree-place.ts";

/** Of any text file in a tree: more is no os-release or machine-id (promises.md 3.1). */
const MAX_TEXT = 64 * 1024;

/**
 * What the planner wants to know of a tree. Nothing in the tree is trusted: see InRoot.
 *
 * @throws BerthError when there is no directory at `root`. Not being allowed to look is no error: `readable` is false then.
 */
export function readTreeFacts(root: TreeRoot, host: HostFacts): TreeFacts {
  let tree: InRoot | null = null;
  try {
    tree = new InRoot(root);
    return factsOf(tree, host);
  } catch (error) {
    const code = errorCode(error);
    if (code === "EACCES" || code === "EPERM") return assumedFacts(typeof root === "string" ? root : root.tree, host);
    throw treeError(root, code, error);
  } finally {
    tree?.close();
  }
}

function factsOf(tree: InRoot, host: HostFacts): TreeFacts {
  const mount = findMount(keptMountinfo(), tree.mountId());
  const root = tree.root();
  const init = discoverInit(tree);
  const fault = init === null ? initFault(tree) : undefined;
  const osRelease = firstText(tree, OS_RELEASE_PATHS);
  return {
    isHostRoot: root.identity === hostRoot(),
    readable: true,
    owner: root.uid,
    group: root.gid,
    fsType: mount?.fsType ?? "unknown",
    readOnly: tree.isReadOnly(),
    init,
    ...(fault === undefined ? {} : { initFault: fault }),
    osRelease: osRelease === null ? null : parseOsRelease(osRelease),
    machineId: parseMachineId(readText(tree, "/etc/machine-id")),
    hasTimezone: host.timezone !== null && tree.typeOf(`/usr/share/zoneinfo/${host.timezone}`) === "file",
    timezone: timezoneOfLink(tree.linkTarget("/etc/localtime")),
  };
}

function hostRoot(): string {
  const { dev, ino } = statSync("/");
  return `${dev}:${ino}`;
}

function firstText(tree: InRoot, paths: readonly string[]): string | null {
  for (const path of paths) {
    const text = readText(tree, path);
    if (text !== null) return text;
  }
  return null;
}

function readText(tree: InRoot, path: string): string | null {
  return tree.readFile(path, MAX_TEXT)?.toString("utf8") ?? null;
}

/** A tree of Debian's, as it comes from `berth bootstrap`. The mount table says what it is on, readable or not. */
function assumedFacts(root: string, host: HostFacts): TreeFacts {
  const mount = mountOf(readMounts(), root);
  return {
    isHostRoot: root === "/",
    readable: false,
    owner: 0,
    group: 0,
    fsType: mount?.fsType ?? "unknown",
    readOnly: mount !== null && isReadOnly(mount),
    init: { path: "/usr/lib/systemd/systemd", kind: "systemd", machine: host.arch === "x64" ? "x86-64" : "aarch64" },
    osRelease: { ID: "debian" },
    machineId: null,
    hasTimezone: true,
    timezone: "Etc/UTC",
  };
}

function treeError(place: TreeRoot, code: string | undefined, cause: unknown): unknown {
  const root = visible(showRoot(place));
  if (code === "ENOENT") {
    if (typeof place !== "string") return new BerthError(`${root}: no such directory`, { cause });
    const other = keptOtherwise(place);
    if (other !== undefined)
      return new BerthError(`${root}: no such directory: ${visible(other.what)}`, { hint: visible(other.hint), cause });
    const hint = suggest(basename(place), listTrees(dirname(place))) ?? "`berth bootstrap` makes one";
    return new BerthError(`${root}: no such tree`, { hint, cause });
  }
  if (code === "ENOTDIR") return new BerthError(`${root}: not a directory`, { cause });
  return code === undefined ? cause : new BerthError(`${root}: cannot read the tree: ${code}`, { cause });
}

/** An image of that name which is no directory, or not any more: it is one of a clone, which has made a stack of both. */
function keptOtherwise(place: string): { readonly what: string; readonly hint: string } | undefined {
  const tree = findTree(dirname(place), basename(place));
  if (tree === null) return undefined;
  const name = basename(place);
  return kindOfTree(tree) === "stack"
    ? { what: `the image is a stack of layers, ${basename(tree)}`, hint: `-M ${name} runs it, and so does -D ${tree}` }
    : { what: `the image is a disk image, ${basename(tree)}`, hint: `-M ${name} runs it, and so does --image=${tree}` };
}

/** What a Bind= source is on the host. Its path comes from trusted settings, so links are followed as usual. */
export function readPathFacts(path: string): PathFacts {
  try {
    return { type: statSync(path).isDirectory() ? "directory" : "file" };
  } catch (error) {
    return { type: "missing", errno: errorCode(error) ?? "EIO" };
  }
}

/** The same of a path in a tree, which is not trusted: links are followed inside it only. */
export function readInsideFacts(root: string, path: string): PathFacts {
  try {
    const tree = new InRoot(root);
    try {
      const type = tree.typeOf(path);
      if (type === null) return { type: "missing", errno: "ENOENT" };
      return { type: type === "directory" ? "directory" : "file" };
    } finally {
      tree.close();
    }
  } catch (error) {
    return { type: "missing", errno: errorCode(error) ?? "EIO" };
  }
}

/** What a path of the host is on. */
export function readFileSystem(path: string, mounts = readMounts()): FileSystemFacts {
  const mount = mountOf(mounts, realPath(path));
  return { fsType: mount?.fsType ?? "unknown", readOnly: mount !== null && isReadOnly(mount) };
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path; // what is wrong with it will be said where it is used
  }
}

/** What is where a file of the host is to be bound in a tree. */
export function readPlace(root: TreeRoot, path: string): "file" | "missing" | "other" {
  try {
    const tree = new InRoot(root);
    try {
      const type = tree.typeOf(path);
      if (type === null) return "missing";
      return type === "file" ? "file" : "other";
    } finally {
      tree.close();
    }
  } catch {
    return "missing";
  }
}
