/**
 * A stack of layers in a root's store, as berth clone makes one, with the probe in its lowest layer.
 *
 *   const stack = await probeStack(root, "m");     // m.mstack
 *   stack.layer                                    // where the probe's tree is, which is one of mergedTree
 *   root.run(stack.path, [...SHELL], ["/bin/sh", "-c", "rm /etc/os-release"])
 *   stack.data                                     // what a machine has changed
 */
import { chmodSync, mkdirSync, renameSync, rmdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { BerthRoot } from "./berth.ts";
import { mergedTree } from "./merged-tree.ts";

/** Options for the host's programs in it. */
export const SHELL = ["-q", "--bind-ro=/usr"] as const;

export interface ProbeStack {
  readonly path: string;
  readonly layer: string;
  readonly rw: string;
  readonly data: string;
}

export async function probeStack(root: BerthRoot, name: string): Promise<ProbeStack> {
  const tree = await mergedTree(join(root.machines, `${name}-tree`));
  for (const link of ["lib", "lib64"]) symlinkSync(`usr/${link}`, join(tree, link));
  const layer = join(root.machines, `.berth-layers/${name}1/tree`);
  mkdirSync(join(layer, ".."), { recursive: true, mode: 0o700 });
  renameSync(tree, layer);
  const path = join(root.machines, `${name}.mstack`);
  const rw = join(path, "rw");
  for (const directory of [path, rw, join(rw, "work")]) mkdirSync(directory, { mode: 0o700 });
  mkdirSync(join(rw, "data"));
  chmodSync(join(rw, "data"), 0o755);
  symlinkSync(`../.berth-layers/${name}1/tree`, join(path, "layer@00"));
  return { path, layer, rw, data: join(rw, "data") };
}

/** Makes what was written to a stack its topmost layer. */
export function sealByHand(root: BerthRoot, name: string, { rw, path }: ProbeStack): void {
  const sealed = join(root.machines, `.berth-layers/${name}2`);
  mkdirSync(join(sealed, "rw"), { recursive: true, mode: 0o700 });
  renameSync(join(rw, "data"), join(sealed, "rw/data"));
  mkdirSync(join(rw, "data"));
  chmodSync(join(rw, "data"), 0o755);
  symlinkSync(`../.berth-layers/${name}2/rw/data`, join(path, "layer@01"));
}

/** A stack that can't be written to. */
export function withoutRw({ rw, path }: ProbeStack): void {
  for (const part of ["data", "work"]) rmdirSync(join(rw, part));
  rmdirSync(join(path, "rw"));
}
