import { posix } from "node:path";
import type { Layer, Overlay } from "../spec/machine-spec.ts";
import { pathInTree } from "../spec/pivot.ts";
import { error, type Problem } from "../spec/problem.ts";
import { quote } from "../spec/quote.ts";
import type { Source } from "../spec/source.ts";
import { bindKey, type LayerFacts } from "./facts.ts";
import type { PlanInput } from "./input.ts";
import { apivfs, host } from "./make-step.ts";
import { makeMissing } from "./missing-source.ts";
import { canMap, diskRoot, mapTree, unmappedHint } from "./owners.ts";
import type { FdName, Step } from "./step.ts";

/** Overlay= and OverlayReadOnly=: layers are opened on the host, and put together by the machine's own root. */

const overlayFd = (index: number): FdName => `overlay:${index}`;
const lowerFd = (index: number, layer: number): FdName => `lower:${index}.${layer}`;
const upperFd = (index: number): FdName => `upper:${index}`;

/** Names of the two directories in a temporary layer: make-layer. */
const TEMPORARY = { data: "data", work: "work" };

/** What is below the one that is written to, or in a read-only overlay all that is given. Lowest first. */
function lowerLayers({ lower, upper, readOnly }: Overlay): readonly Layer[] {
  return readOnly && upper !== null ? [...lower, upper] : lower;
}

/** The layer that is written to, null: there is none; it is temporary where its own path is null. */
function upperLayer({ upper, readOnly }: Overlay): { readonly layer: Layer | null } | null {
  return readOnly && upper !== null ? null : { layer: upper };
}

/** Opened on the host before anything else is made: one that is missing costs nothing. */
export function overlaySources(input: PlanInput): Step[] {
  return input.spec.overlays.flatMap(({ value, source }, index): Step[] => {
    const lower = lowerLayers(value).map((layer, at) =>
      host(
        "clone-tree",
        {
          fd: lowerFd(index, at),
          ...placeOf(input, layer),
          recursive: false,
          flags: ["ro"],
          propagation: "private",
        },
        source,
      ),
    );
    const upper = upperLayer(value);
    return upper === null
      ? lower
      : [...lower, ...lockUpper(input, upper.layer, source), openUpper(input, upper.layer, index, source)];
  });
}

/** As who runs it would lock a tree. What lies in the machine's own is locked with that. */
function lockUpper({ machine, places }: PlanInput, layer: Layer | null, source: Source): Step[] {
  const facts = layer === null ? undefined : machine.layers[bindKey(layer)];
  if (facts?.type !== "directory" || facts.inode === null) return [];
  const path = `${places.trees}/inode-${facts.inode}`;
  return [host("lock-use", { path, directory: facts.path, as: "layer" }, source)];
}

function openUpper(input: PlanInput, layer: Layer | null, index: number, source: Source): Step {
  const fd = upperFd(index);
  if (layer === null) {
    const content = input.request.reboot === true ? "kept" : "empty";
    return host("make-layer", { fd, directory: temporaryDirectory(input, `overlay${index}`), content }, source);
  }
  const { path, inside } = placeOf(input, layer);
  const { directory, data, work } = upperNames(input, layer, index);
  const place = inside === null ? { path: directory, inside } : { path, inside: directory };
  const owner = layer.fromRoot ? diskRoot(input) : 0;
  return host("open-upper", { fd, ...place, data, work, owner }, source);
}

/** Removed with the machine. It may not be on the file system of the tree, which may be read-only. */
export function temporaryDirectory({ places }: PlanInput, name: string): string {
  return `${places.temporary}-${name}`;
}

function placeOf({ spec }: PlanInput, { source, fromRoot }: Layer): { path: string; inside: string | null } {
  return fromRoot ? { path: spec.root.value, inside: pathInTree(spec, source) } : { path: source, inside: null };
}

/** The kernel wants both under one mount: that of the directory which has the layer, and the work directory beside it. */
function upperNames(input: PlanInput, layer: Layer, index: number): { directory: string; data: string; work: string } {
  const facts = input.machine.layers[bindKey(layer)];
  const path = facts?.type === "directory" ? facts.path : (placeOf(input, layer).inside ?? layer.source);
  const slash = path.lastIndexOf("/");
  return {
    directory: path.slice(0, slash) || "/",
    data: path.slice(slash + 1),
    work: `.berth-work-${input.machine.randomId.slice(0, 16)}-${index}`,
  };
}

/** An overlay has no owners of its own to map: its layers have. */
export function mapLayers(input: PlanInput): Step[] {
  return input.spec.overlays.flatMap((each, index) => {
    const map = (fd: FdName, layer: Layer | null): Step[] =>
      layer?.fromRoot === true
        ? mapTree(input, fd, false, each)
        : [host("map-owners", { fd, recursive: false, mapping: null }, each.source)];
    const upper = upperLayer(each.value);
    return [
      ...lowerLayers(each.value).flatMap((layer, at) => map(lowerFd(index, at), layer)),
      ...(upper === null ? [] : map(upperFd(index), upper.layer)),
    ];
  });
}

export function makeOverlays(input: PlanInput): Step[] {
  return input.spec.overlays.map(({ value, source }, index) => {
    const lower = lowerLayers(value).map((_, at) => lowerFd(index, at));
    const upper = upperLayer(value);
    const names = upper === null ? null : upper.layer === null ? TEMPORARY : upperNames(input, upper.layer, index);
    return apivfs(
      "combine-layers",
      {
        fd: overlayFd(index),
        lower: lower.toReversed(),
        upper: names === null ? null : { fd: upperFd(index), data: names.data, work: names.work },
        flags: value.readOnly ? ["ro", "nodev"] : ["nodev"],
      },
      source,
    );
  });
}

export function overlayFds({ spec }: PlanInput): readonly FdName[] {
  return spec.overlays.map((_, index) => overlayFd(index));
}

/** What facts rule out of layers. */
export function layersFit(input: PlanInput): readonly Problem[] {
  const { spec, machine } = input;
  const { mode } = spec.privateUsers.value;
  if (mode === "pick" && machine.rangeBase === null) return []; // said elsewhere
  return spec.overlays.flatMap(({ value, source }) => {
    const upper = upperLayer(value);
    const layers: readonly Layer[] = [...lowerLayers(value), ...(upper?.layer ? [upper.layer] : [])];
    const found = layers.flatMap((layer) => layerFits(input, layer, source));
    const written = upper?.layer ?? null;
    return [
      ...found,
      ...layersDiffer(input, layers, source),
      ...(written === null ? [] : upperFits(input, written, source)),
      ...(upper !== null && upper.layer === null ? temporaryFits(input, "the temporary layer", source) : []),
    ];
  });
}

function layerFits(input: PlanInput, layer: Layer, source: Source): readonly Problem[] {
  const facts = input.machine.layers[bindKey(layer)];
  const name = `layer ${quote(bindKey(layer))}`;
  if (facts === undefined) return [];
  const expected = `a directory ${layer.fromRoot ? "in the tree" : "on the host"}`;
  if (facts.type === "missing") {
    const hint = makeMissing(layer, facts.errno);
    return [error(source, `${name} can't be opened: ${facts.errno}`, hint, expected)];
  }
  if (facts.type === "file") return [error(source, `${name} is no directory`, undefined, expected)];
  return layer.fromRoot ? [] : mapFits(input, name, facts.fsType, source);
}

/** The kernel's word for it, about symbolic links, would mislead. */
function layersDiffer({ machine }: PlanInput, layers: readonly Layer[], source: Source): readonly Problem[] {
  const seen = new Map<string, string>();
  return layers.flatMap((layer) => {
    const facts = machine.layers[bindKey(layer)];
    if (facts?.type !== "directory") return [];
    const directory = facts.inode ?? bindKey({ source: facts.path, fromRoot: layer.fromRoot });
    const before = seen.get(directory);
    seen.set(directory, bindKey(layer));
    if (before === undefined) return [];
    const what = `layers ${quote(before)} and ${quote(bindKey(layer))} are the same directory`;
    return [error(source, what, "each directory can be a layer of an overlay once")];
  });
}

/** With a user namespace of its own the machine has the host's ids mapped in layers of the host. */
function mapFits(input: PlanInput, name: string, fsType: string, source: Source): readonly Problem[] {
  if (input.spec.privateUsers.value.mode === "no" || canMap(fsType, input.host.kernel.version)) return [];
  const what = `${name}: ${unmappedHint(fsType)}`;
  return [error(source, what, COPY_HINT, "a file system such as ext4, XFS or Btrfs")];
}

const COPY_HINT = "a copy of it on another file system would do, and so would PrivateUsers=no";

function upperFits(input: PlanInput, layer: Layer, source: Source): readonly Problem[] {
  const facts: LayerFacts | undefined = input.machine.layers[bindKey(layer)];
  if (facts?.type !== "directory") return [];
  const name = `layer ${quote(bindKey(layer))}`;
  const hint = "a directory in it would do";
  if (facts.path === "/") return [error(source, `${name} can't be written to: there is no place beside it`, hint)];
  if (!facts.isMountPoint) return [];
  const what = `${name} is a mount point, and the kernel wants a work directory beside it on the same file system`;
  return [error(source, what, hint)];
}

/** Of a Bind= or Overlay= that asks for a temporary directory. */
export function temporaryFits(input: PlanInput, name: string, source: Source): readonly Problem[] {
  const { temporaryFsType } = input.machine;
  if (temporaryFsType === null) return [];
  return mapFits(input, `${name} in ${posix.dirname(input.places.temporary)}`, temporaryFsType, source);
}
