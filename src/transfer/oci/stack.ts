import { createHash } from "node:crypto";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { LAYERS } from "../../host/stack.ts";
import { syncPath, syncTree } from "../../host/to-disk.ts";
import { linkTo, lockLayers } from "../../image/layers.ts";
import { makeStack, newIdentity } from "../../image/stack-files.ts";
import type { Control } from "../transfer.ts";
import type { Descriptor } from "./manifest.ts";
import { unpackLayer } from "./unpack.ts";
import { convertLayer } from "./whiteouts.ts";

/**
 * The layers of an image as layers of the store, named by what they and those below them are: an image that begins as another
 * one does shares them with it, and has them neither downloaded nor kept again.
 */
export interface StackRequest {
  /** From the lowest. */
  readonly layers: readonly Descriptor[];
  readonly store: string;
  readonly workspace: string;
  /** Downloads blobs; returns their paths, in this order. */
  readonly fetch: (layers: readonly Descriptor[]) => Promise<readonly string[]>;
  readonly control: Control;
}

/** Returns the stack, which is yet to get its name. @throws BerthError for what is no layer */
export async function makeLayered(request: StackRequest): Promise<string> {
  const { layers, store, workspace, control } = request;
  const ids = idsOf(layers);
  const there = await hold(ids, store, workspace);
  if (there > 0) control.log(`${there} of ${layers.length} layers are here already`);
  const paths = await request.fetch(layers.slice(there));
  const made: string[] = [];
  for (const [index, path] of paths.entries()) {
    control.log(`unpacking layer ${there + index + 1} of ${layers.length}`);
    const lower = [
      ...made,
      ...ids
        .slice(0, there)
        .map((id) => treeOf(store, id))
        .reverse(),
    ];
    made.unshift(await unpack(path, join(workspace, `new-${index}`), lower, control));
    control.progress((index + 1) / paths.length);
  }
  // What is in the store by its name is whole, whenever the power goes.
  if (made.length > 0) await syncTree(workspace);
  return place(ids, made.toReversed(), request);
}

/** By this chain: what a layer is depends on what is below it, as directories that it has only ways through are those below. */
function idsOf(layers: readonly Descriptor[]): readonly string[] {
  let before = "";
  return layers.map(({ digest }) => {
    before = createHash("sha256").update(`${before} ${digest}`).digest("hex");
    return `sha256-${before}`;
  });
}

function treeOf(store: string, id: string): string {
  return join(store, LAYERS, id, "tree");
}

/** How many, from the lowest, are there; until the workspace goes nobody removes them. */
async function hold(ids: readonly string[], store: string, workspace: string): Promise<number> {
  using _layers = await lockLayers(store);
  const missing = ids.findIndex((id) => !existsSync(treeOf(store, id)));
  const there = ids.slice(0, missing < 0 ? ids.length : missing);
  const top = there.at(-1);
  if (top !== undefined)
    makeStack(join(workspace, "held.mstack"), {
      ...{ links: there.map((id) => linkTo(id)), identity: newIdentity(null), like: treeOf(store, top) },
    });
  return there.length;
}

async function unpack(path: string, directory: string, lower: readonly string[], control: Control): Promise<string> {
  await mkdir(directory, { mode: 0o700 });
  const ways = await unpackLayer(path, directory, control);
  await convertLayer({ directory, ways, lower }, control.signal);
  return join(directory, "layer");
}

/** Each by its name, if nobody was faster, and then all by those of the stack. */
async function place(
  ids: readonly string[],
  made: readonly string[],
  { store, workspace }: StackRequest,
): Promise<string> {
  using _layers = await lockLayers(store);
  const first = ids.length - made.length;
  for (const [index, tree] of made.entries()) {
    const id = ids[first + index];
    if (id === undefined || existsSync(treeOf(store, id))) continue;
    const directory = join(workspace, `layer-${index}`);
    mkdirSync(directory, { mode: 0o700 });
    renameSync(tree, join(directory, "tree"));
    renameSync(directory, join(store, LAYERS, id));
  }
  await syncPath(join(store, LAYERS));
  const stack = join(workspace, "image.mstack");
  const top = treeOf(store, ids.at(-1) ?? "");
  makeStack(stack, { links: ids.map((id) => linkTo(id)), identity: newIdentity(null), like: top });
  return stack;
}
