import { error, type Problem } from "../spec/problem.ts";
import { keeping, rootKind, writesTree } from "../spec/root-kind.ts";
import type { DiskAccess, DiskMount, DiskPart } from "./disk-part.ts";
import type { PlanInput } from "./input.ts";
import { apivfs, host, keeper } from "./make-step.ts";
import { canMap, isOwned, mapTree, ownership, unmappedHint } from "./owners.ts";
import { withContext } from "./selinux.ts";
import type { FdName, Step } from "./step.ts";
import { MEMORY_LIMITS } from "./volatile.ts";

/**
 * A machine whose image is a disk: its partitions are mounted, each by a loop device of its own, for this machine alone.
 * Who keeps the image as it is has them read-only, and an overlay over each that a machine may want to write to.
 */
export function isDisk({ machine }: PlanInput): boolean {
  return machine.storage.kind === "disk";
}

/** Whether the machine may change its image. */
export function writesDisk(input: PlanInput): boolean {
  return writesTree(input.spec) && !input.machine.tree.readOnly;
}

const ROOT = "root";
const partFd = ({ purpose }: DiskMount): FdName => `part:${purpose}`;
const layerFd = ({ purpose }: DiskMount): FdName => `part-layer:${purpose}`;
const overlayFd = ({ purpose }: DiskMount): FdName => `part-overlay:${purpose}`;

function mounts({ machine }: PlanInput): readonly DiskMount[] {
  return machine.storage.kind === "disk" ? machine.storage.mounts : [];
}

/** Boot loaders' files are for who updates them: a machine that changes nothing has them read-only. */
const PLAIN: ReadonlySet<string> = new Set(["esp", "xbootldr"]);

/** Those that have an overlay over them, as the root has. */
function covered(input: PlanInput): readonly DiskMount[] {
  const isCovered = ["layer", "memory layer"].includes(rootKind(input.spec));
  return isCovered ? mounts(input).filter(({ purpose, readOnly }) => !readOnly && !PLAIN.has(purpose)) : [];
}

export function openDisk(input: PlanInput): Step[] {
  const { spec, machine } = input;
  const { storage } = machine;
  if (storage.kind !== "disk") return [];
  const { value: image, source } = spec.root;
  const open = (fd: FdName, { number, offset, size, fsType, readOnly }: DiskPart): Step => {
    const access: DiskAccess = writesDisk(input) && !readOnly ? "writable" : "read-only";
    return host("mount-part", { fd, image, part: { number, offset, size, fsType, readOnly }, access }, source);
  };
  return [open(ROOT, storage.root), ...storage.mounts.map((part) => open(partFd(part), part))];
}

/** Beside that of the root: for what an ephemeral machine changes in the others. */
export function makeDiskLayers(input: PlanInput): Step[] {
  const { spec, places, request } = input;
  if (rootKind(spec) !== "layer") return [];
  const content = request.reboot === true ? "kept" : "empty";
  return covered(input).map((part) =>
    host(
      "make-layer",
      { fd: layerFd(part), directory: `${places.layer}-${part.purpose}`, content },
      spec.ephemeral.source,
    ),
  );
}

export function mapDisk(input: PlanInput): Step[] {
  const { spec } = input;
  const layers = rootKind(spec) === "layer" ? covered(input) : [];
  return [
    ...[ROOT, ...mounts(input).map(partFd)].flatMap((fd) => mapTree(input, fd, false, spec.privateUsers)),
    ...layers.map((part) =>
      host("map-owners", { fd: layerFd(part), recursive: false, mapping: null }, spec.privateUsers.source),
    ),
  ];
}

export function makeDiskOverlays(input: PlanInput): Step[] {
  const { spec } = input;
  const inMemory = rootKind(spec) === "memory layer";
  // Of trusted ones the root of a user namespace can't set any.
  const attributes = inMemory && spec.privateUsers.value.mode === "no" ? "trusted" : "user";
  return covered(input).map((part) =>
    apivfs(
      "make-overlay",
      {
        fd: overlayFd(part),
        lower: [partFd(part)],
        upper: inMemory ? null : layerFd(part),
        limits: inMemory ? withContext(input, MEMORY_LIMITS) : [],
        attributes,
      },
      inMemory ? spec.volatile.source : spec.ephemeral.source,
    ),
  );
}

export function diskOverlayFds(input: PlanInput): FdName[] {
  return covered(input).map(overlayFd);
}

export function attachDisk(input: PlanInput): Step[] {
  const over = new Set(covered(input));
  const remove = writesDisk(input);
  return mounts(input).map((part) =>
    keeper(
      "attach",
      {
        fd: over.has(part) ? overlayFd(part) : partFd(part),
        target: part.target,
        create: "directory",
        api: false,
        remove,
      },
      input.spec.root.source,
    ),
  );
}

/** What a tree can do that is a directory of the host, and a disk image can't. */
export function diskFits(input: PlanInput): readonly Problem[] {
  const { spec, machine } = input;
  const { storage } = machine;
  if (storage.kind !== "disk") return [];
  const image = spec.root.value;
  const refused = [
    ...spec.binds.filter(({ value }) => value.fromRoot).map(({ source }) => ({ source, what: "Bind= of its own" })),
    ...spec.overlays
      .filter(({ value: { lower, upper } }) => [...lower, upper].some((layer) => layer?.fromRoot === true))
      .map(({ source }) => ({ source, what: "Overlay= of its own" })),
  ];
  return [
    ...refused.map(({ source, what }) => error(source, `${image} is a disk image: ${what} directories can't be had`)),
    ...(spec.pivotRoot.value === undefined
      ? []
      : [error(spec.pivotRoot.source, `${image} is a disk image, of which PivotRoot= can't take a part`)]),
    ...(rootKind(spec) === "memory"
      ? [
          error(
            spec.volatile.source,
            `${image} is a disk image, whose /usr alone can't be had`,
            "Volatile=overlay keeps all changes in memory",
          ),
        ]
      : []),
    ...ownersOfDiskFit(input, storage),
  ];
}

function ownersOfDiskFit(input: PlanInput, { root, mounts: others }: { root: DiskPart; mounts: readonly DiskMount[] }) {
  const { spec, machine, host: facts } = input;
  if (spec.privateUsers.value.mode === "pick" && machine.rangeBase === null) return []; // said elsewhere
  const way = ownership(input);
  const image = spec.root.value;
  if (way === "chown" && !isOwned(input)) {
    if (machine.tree.readOnly || keeping(spec) !== null) return []; // said elsewhere
    const what = `the owners in ${image}, a disk image, are changed by no start`;
    const hint = canMap(root.fsType, facts.kernel.version) ? undefined : unmappedHint(root.fsType);
    return [error(spec.ownership.source, what, hint, "PrivateUsersOwnership=map, or --private-users=no")];
  }
  if (way !== "map") return [];
  return others
    .filter(({ fsType }) => !canMap(fsType, facts.kernel.version))
    .map(({ number, target, fsType }) =>
      error(
        spec.privateUsers.source,
        `partition ${number} of ${image} can't be mounted on ${target}: ${unmappedHint(fsType)}`,
        "--private-users=no does without",
      ),
    );
}
