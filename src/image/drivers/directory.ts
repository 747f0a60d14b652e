import { chmodSync, mkdirSync, statSync } from "node:fs";
import { BerthError } from "../../errors.ts";
import { isImmutable, setImmutable } from "../../sys/file-flags.ts";
import { copyTree } from "../copy-tree.ts";
import { countDisk } from "../count-disk.ts";
import type { Driver } from "../driver.ts";
import { sharesBlocks, takesLayers } from "../file-systems.ts";
import { copyRunning } from "../follow/copy-running.ts";

/** A tree in a plain directory: works everywhere. */
export const directoryDriver: Driver = {
  name: "directory",
  type: "directory",
  suffix: "",
  why: (fsType, obstacle) => `a directory on ${fsType}${cloneOf(fsType, obstacle)}`,

  read(path) {
    // The mode of a tree's root is what the machine's users see. The flag at least keeps the root as it is, and can be read
    // back: machined's mark as well.
    const { birthtimeMs } = statSync(path);
    return {
      readOnly: path !== "/" && isImmutable(path),
      created: birthtimeMs > 0 ? birthtimeMs : null,
      modified: null,
    };
  },

  measure: countDisk,
  // As its users see it: others are kept out by the store.
  create: (path) => {
    mkdirSync(path);
    chmodSync(path, 0o755);
  },

  async copy(from, to, signal, progress) {
    await copyTree(from, to, signal, { progress });
  },

  async snapshot(from, to, still, signal, progress) {
    await copyRunning(from, to, still, signal, progress);
  },

  setReadOnly(path, readOnly) {
    if (setImmutable(path, readOnly) || !readOnly) return;
    throw new BerthError(`${path} can't be marked read-only: its file system has no immutable flag`, {
      hint: "ReadOnly=yes in the machine's settings keeps a machine from changing it",
      kind: "NotSupported",
    });
  },

  setLimit(path) {
    throw new BerthError(`${path} can't have a limit of its own: it is a plain directory`, {
      hint: "on btrfs with quotas images have limits; elsewhere a file system of the store's own limits it",
      kind: "NotSupported",
    });
  },
};

function cloneOf(fsType: string, obstacle?: string): string {
  if (sharesBlocks(fsType)) return ": a clone shares the blocks of its files";
  const none = ", which shares no blocks: a clone ";
  if (!takesLayers(fsType)) return `${none}is a copy`;
  return `${none}${obstacle === undefined ? "makes a layer of it, which both share" : `copies it all, as ${obstacle}`}`;
}
