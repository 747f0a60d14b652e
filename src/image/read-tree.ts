import { join, relative } from "node:path";
import { openImage } from "../host/open-image.ts";
import { type OpenTree, openStack } from "../host/open-tree.ts";
import type { Paths } from "../host/paths.ts";
import { readStack, rootsOf } from "../host/stack.ts";
import { kindOfTree } from "../host/tree-place.ts";
import { runningFrom } from "../machine/still.ts";
import { copyTree } from "./copy-tree.ts";
import { createWorkspace } from "./workspace.ts";

/** The tree of an image for who reads all of it, and for confined programs. */
export interface ReadTree extends AsyncDisposable {
  /** For this process: OpenTree. */
  readonly path: string;
  /** Where those find it: a directory, or what is laid over each other, below it. */
  readonly confined: { readonly directory: string; readonly layers?: readonly string[] };
}

/**
 * Of a stack that a machine runs from what was written is copied first: an overlay over what another one writes to has a
 * will of its own.
 */
export async function readTree(paths: Paths, image: string, signal: AbortSignal): Promise<ReadTree> {
  if (kindOfTree(image) !== "stack") {
    const opened = await openImage(image);
    const { path } = opened;
    return { path, confined: { directory: path }, [Symbol.asyncDispose]: async () => opened[Symbol.dispose]() };
  }
  const stack = readStack(image);
  if (stack.rw === null || runningFrom(image, paths).length === 0)
    return read(paths, openStack(stack), rootsOf(stack), async () => undefined);
  const workspace = await createWorkspace(paths.machines, "reading");
  try {
    const rw = workspace.path;
    await copyTree(join(stack.rw, "data"), join(rw, "data"), signal);
    const copy = { ...stack, rw };
    return read(paths, openStack(copy), rootsOf(copy), async () => {
      await workspace[Symbol.asyncDispose]();
    });
  } catch (error) {
    await workspace[Symbol.asyncDispose]();
    throw error;
  }
}

function read({ machines }: Paths, opened: OpenTree, roots: readonly string[], dispose: () => Promise<void>): ReadTree {
  return {
    get path() {
      return opened.path;
    },
    confined: { directory: machines, layers: roots.map((root) => relative(machines, root)) },
    async [Symbol.asyncDispose]() {
      opened[Symbol.dispose]();
      await dispose();
    },
  };
}
