import { shareDisk } from "../image/hold-tree.ts";
import { type ReadTree, readTree } from "../image/read-tree.ts";
import type { ImageStore } from "../image/store.ts";
import type { PackageDiff } from "./read-packages.ts";
import { diffPackages } from "./read-packages.ts";
import { type Change, diffTrees } from "./tree-diff.ts";

export interface DiffRequest {
  readonly image: string;
  /** The earlier state. */
  readonly from: string;
  /** Null: the image as it is now, also while a machine runs from it. */
  readonly to: string | null;
  readonly signal: AbortSignal;
}

export interface Diff extends PackageDiff {
  readonly files: readonly Change[];
}

/** What has changed from one state of an image to another. For a process of its own: it reads both trees in one go. */
export function diffImage(store: ImageStore, { image, from, to, signal }: DiffRequest): Promise<Diff> {
  // Nobody removes or replaces them meanwhile.
  return store.read(image, async () => {
    await using stack = new AsyncDisposableStack();
    const open = async (snapshot: string | null): Promise<ReadTree> => {
      const found = store.get(snapshot === null ? image : `${image}@${snapshot}`);
      // What a machine changes on a disk meanwhile would be no file system any more.
      if (found.type === "raw") stack.use(shareDisk(found, store.paths));
      return stack.use(await readTree(store.paths, found.path, signal));
    };
    const [before, after] = [await open(from), await open(to)];
    const files: Change[] = [];
    diffTrees(before.path, after.path, (change) => files.push(change));
    return { files, ...(await diffPackages(before, after, signal)) };
  });
}
