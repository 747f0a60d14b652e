import { chmodSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { BerthError } from "../../errors.ts";
import { isStackMarked, LAYERS, linksOf, readStack, type Stack, storeOf } from "../../host/stack.ts";
import { STACK_SUFFIX } from "../../host/tree-place.ts";
import { copyTree } from "../copy-tree.ts";
import { countDisk } from "../count-disk.ts";
import type { Driver } from "../driver.ts";
import { sharesBlocks } from "../file-systems.ts";
import { copyRunning } from "../follow/copy-running.ts";
import { hasChanges, makeRw, makeStack, newIdentity, readIdentity, topOf } from "../stack-files.ts";

/** An overlay can have 500; each one makes every look-up of a file a little slower, and a clone that has more is a copy. */
export const MOST_LAYERS = 20;

/** Layers laid over each other by overlayfs: works on every file system that is no overlay itself. */
export const stackDriver: Driver = {
  name: "overlay",
  type: "directory",
  suffix: STACK_SUFFIX,
  why: (fsType) =>
    `a stack of layers on ${fsType}${sharesBlocks(fsType) ? "" : ", which shares no blocks"}: a clone shares the layers`,

  read(path) {
    const { birthtimeMs } = statSync(path);
    const stack = readStack(path);
    const identity = readIdentity(path);
    return {
      readOnly: isStackMarked(path) || stack.rw === null,
      created: identity?.created ?? (birthtimeMs > 0 ? birthtimeMs : null),
      modified: null,
      layers: stack.layers,
      ...(identity === null ? {} : { identity: identity.id }),
      ...(identity?.parent == null ? {} : { parentIdentity: identity.parent }),
    };
  },

  /** Its own, and all that its layers have. */
  async measure(path, signal) {
    const { layers } = readStack(path);
    return countDisk([path, ...layers], signal);
  },

  measureOwn: (path, signal) => countDisk([path], signal),

  /** With a first layer of its own, which is what is to be filled. */
  create(path) {
    mkdirSync(path, 0o700);
    const layer = join(path, "layer@00");
    mkdirSync(layer);
    chmodSync(layer, 0o755);
    makeRw(path, layer);
  },

  /** Of the layers nothing is copied, of what was written since all. What the kernel works in is empty in a copy. */
  async copy(from, to, signal, progress) {
    const stack = copyLayers(from, to);
    if (stack.rw !== null && hasChanges(stack)) await copyTree(...changesOf(stack.rw, to), signal, { progress });
  },

  async snapshot(from, to, still, signal, progress) {
    const stack = copyLayers(from, to);
    if (stack.rw !== null && (still.isNeeded() || hasChanges(stack)))
      await copyRunning(...changesOf(stack.rw, to), still, signal, progress);
  },

  setReadOnly(path, readOnly) {
    if (!readOnly && readStack(path).rw === null) makeRw(path, topOf(readStack(path)));
    chmodSync(path, readOnly ? 0o500 : 0o700);
  },

  setLimit(path) {
    throw new BerthError(`${path} can't have a limit of its own: it is a stack of layers`, {
      hint: "on btrfs with quotas images have limits; elsewhere a file system of the store's own limits it",
      kind: "NotSupported",
    });
  },
};

/** Without what has been written to it since. Returns what it is a copy of. */
function copyLayers(from: string, to: string): Stack {
  const stack = readStack(from);
  const links = linksOf(from);
  if (links === null) throw ownLayers(from);
  makeStack(to, { links, identity: newIdentity(readIdentity(from)?.id ?? null), like: topOf(stack) });
  return stack;
}

/** What has been written to a stack, and where that is in its copy. */
function changesOf(rw: string, to: string): readonly [string, string] {
  return [join(rw, "data"), join(to, "rw/data")];
}

function ownLayers(path: string): BerthError {
  return new BerthError(`${path} has layers of its own, which can't be shared`, {
    hint: `berth clone --driver=directory copies it; layers in ${join(storeOf(path), LAYERS)} are shared`,
    kind: "NotSupported",
  });
}
