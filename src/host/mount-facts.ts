import { existsSync, realpathSync, statSync } from "node:fs";
import { dirname, posix } from "node:path";
import { errorCode } from "../errors.ts";
import { bindKey, type LayerFacts, type MachineFacts, type Owners, type TreeFacts } from "../plan/facts.ts";
import type { MachineSpec } from "../spec/machine-spec.ts";
import { pathInTree } from "../spec/pivot.ts";
import { InRoot } from "./in-root.ts";
import { readMounts } from "./mount-table.ts";
import { type Mount, mountOf } from "./mountinfo.ts";
import { readFileSystem, readInsideFacts, readPathFacts } from "./tree-facts.ts";

/** What the planner wants to know of what the settings mount; `root` is the whole tree. What can't be read is not told: steps that fail say more. */
export function readMountFacts(
  spec: MachineSpec,
  root: string,
  tree: TreeFacts,
  temporary: string,
): Pick<MachineFacts, "bindSources" | "mappedSources" | "targetOwners" | "layers" | "temporaryFsType"> {
  const binds = spec.binds.map(({ value }) => value).filter(({ source }) => source !== "");
  const mapped = binds.filter(({ idmap }) => idmap !== "noidmap");
  // Once for all of them, and not for a machine that has none.
  let table: readonly Mount[] | undefined;
  const mounts = (): readonly Mount[] => {
    table ??= readMounts();
    return table;
  };
  const targets = mapped.filter(({ idmap }) => idmap === "owneridmap").map(({ target }) => target);
  return {
    bindSources: Object.fromEntries(
      binds.map((value) => [
        bindKey(value),
        value.fromRoot ? readInsideFacts(root, pathInTree(spec, value.source)) : readPathFacts(value.source),
      ]),
    ),
    mappedSources: known(mapped, bindKey, ({ source, fromRoot }) => {
      if (!fromRoot) {
        const { uid, gid } = statSync(source);
        return { owner: uid, group: gid, fsType: readFileSystem(source, mounts()).fsType };
      }
      const owners = ownersIn(root, pathInTree(spec, source));
      return owners === null ? null : { ...owners, fsType: tree.fsType };
    }),
    targetOwners: known(
      targets,
      (target) => target,
      (target) => ownersIn(root, pathInTree(spec, target)),
    ),
    layers: layerFacts(spec, root, tree, mounts),
    temporaryFsType: wantsTemporary(spec) ? readFileSystem(nearest(dirname(temporary)), mounts()).fsType : null,
  };
}

function layerFacts(
  { overlays, ...spec }: MachineSpec,
  root: string,
  tree: TreeFacts,
  mounts: () => readonly Mount[],
): Readonly<Record<string, LayerFacts>> {
  const layers = overlays.flatMap(({ value: { lower, upper } }) => [...lower, ...(upper === null ? [] : [upper])]);
  return Object.fromEntries(
    layers.map((layer) => [
      bindKey(layer),
      layer.fromRoot
        ? layerInTree(root, pathInTree(spec, layer.source), tree, mounts())
        : layerOnHost(layer.source, mounts()),
    ]),
  );
}

function wantsTemporary({ binds, overlays }: MachineSpec): boolean {
  return binds.some(({ value }) => value.source === "") || overlays.some(({ value }) => value.upper === null);
}

/** The directory, or what it will be made in. */
function nearest(path: string): string {
  return existsSync(path) ? path : nearest(dirname(path));
}

function layerOnHost(source: string, mounts: readonly Mount[]): LayerFacts {
  try {
    const stat = statSync(source, { bigint: true });
    if (!stat.isDirectory()) return { type: "file" };
    const path = realpathSync(source);
    const mount = mountOf(mounts, path);
    const isMountPoint = mount?.point === path;
    return {
      type: "directory",
      path,
      fsType: mount?.fsType ?? "unknown",
      isMountPoint,
      inode: `${stat.dev}:${stat.ino}`,
    };
  } catch (error) {
    return { type: "missing", errno: errorCode(error) ?? "EIO" };
  }
}

function layerInTree(root: string, source: string, { fsType }: TreeFacts, mounts: readonly Mount[]): LayerFacts {
  try {
    const tree = new InRoot(root);
    try {
      const entry = tree.resolve(source);
      if (entry === null) return { type: "missing", errno: "ENOENT" };
      if (entry.type !== "directory") return { type: "file" };
      const point = posix.join(realpathSync(root), entry.path);
      return {
        type: "directory",
        path: entry.path,
        fsType,
        isMountPoint: mounts.some((mount) => mount.point === point),
        inode: null,
      };
    } finally {
      tree.close();
    }
  } catch (error) {
    return { type: "missing", errno: errorCode(error) ?? "EIO" };
  }
}

function known<T, V>(
  items: readonly T[],
  key: (item: T) => string,
  look: (item: T) => V | null,
): Readonly<Record<string, V>> {
  return Object.fromEntries(
    items.flatMap((item) => {
      const found = attempt(() => look(item));
      return found === null ? [] : [[key(item), found] as const];
    }),
  );
}

/** Null: there is nothing. */
function ownersIn(root: string, path: string): Owners | null {
  const tree = new InRoot(root);
  try {
    const entry = tree.resolve(path);
    return entry === null ? null : { owner: entry.uid, group: entry.gid };
  } finally {
    tree.close();
  }
}

function attempt<T>(look: () => T): T | null {
  try {
    return look();
  } catch {
    return null;
  }
}
