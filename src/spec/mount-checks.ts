import { type CustomMount, customMounts } from "./custom-mounts.ts";
import type { MachineSpec } from "./machine-spec.ts";
import { error, type Problem, warning } from "./problem.ts";
import { quote } from "./quote.ts";
import { keeping } from "./root-kind.ts";
import { type Source, showSource } from "./source.ts";

/** Rules about what the settings mount; see validate.ts. */

const NAMES: Readonly<Record<CustomMount["kind"], string>> = {
  bind: "bind target",
  tmpfs: "tmpfs target",
  overlay: "overlay target",
  inaccessible: "inaccessible path",
};

export function mountTargets(spec: MachineSpec): readonly Problem[] {
  return customMounts(spec).flatMap(({ kind, target, source }) => {
    const what = `${NAMES[kind]} ${quote(target)}`;
    if (target === "/") return [error(source, `${what} would hide the whole tree`, ROOT_HINTS[kind])];
    if (/^\/(proc|sys|dev)$/.test(target) || (kind !== "inaccessible" && /^\/(proc|sys)\//.test(target)))
      return [error(source, `${what} lies in a file system that the machine needs for itself`)];
    return [];
  });
}

const ROOT_HINTS: Readonly<Record<CustomMount["kind"], string>> = {
  bind: "the root is set by --directory",
  overlay: "Ephemeral=yes is an overlay over the tree",
  inaccessible: "nothing could run in it",
  tmpfs: "Ephemeral= keeps nothing of what the machine changes",
};

export function duplicateTargets(spec: MachineSpec): readonly Problem[] {
  const seen = new Map<string, Source>();
  return customMounts(spec).flatMap(({ kind, target, source }) => {
    const before = seen.get(target);
    seen.set(target, source);
    if (before === undefined) return [];
    return [warning(source, `${NAMES[kind]} ${quote(target)} hides the one of ${showSource(before)}`)];
  });
}

/** Who has what is only mounted in the machine is not known before. */
export function ownersOfTargets(spec: MachineSpec): readonly Problem[] {
  const mounts = customMounts(spec);
  return mounts.flatMap((mount, index) => {
    if (mount.kind !== "bind" || mount.value.idmap !== "owneridmap") return [];
    const under = mounts.slice(0, index).find(({ target }) => `${mount.target}/`.startsWith(`${target}/`));
    const what = `owneridmap: ${quote(mount.target)} is no place of the tree's own`;
    const hint = "rootidmap makes the source root's";
    return under === undefined ? [] : [error(mount.source, `${what}, but lies in ${quote(under.target)}`, hint)];
  });
}

export function idmappedBinds({ binds, privateUsers }: MachineSpec): readonly Problem[] {
  if (privateUsers.value.mode !== "no") return [];
  return binds
    .filter(({ value }) => value.idmap !== "noidmap")
    .map(({ value, source }) => warning(source, `${value.idmap} has no effect with PrivateUsers=no`));
}

/** What + names is the tree itself. */
export function writesOfKeptTrees(spec: MachineSpec): readonly Problem[] {
  const kept = keeping(spec);
  if (kept === null) return [];
  const written = [
    ...spec.binds.filter(({ value }) => !value.readOnly).map(({ value, source }) => ({ layer: value, source })),
    ...spec.overlays
      .filter(({ value }) => !value.readOnly)
      .map(({ value, source }) => ({ layer: value.upper, source })),
  ];
  return written.flatMap(({ layer, source }) => {
    if (layer === null || !layer.fromRoot) return [];
    const what = `${kept.machine} would write to ${quote(layer.source)} of its tree`;
    return [error(source, what, `a read-only mount of it is possible, and without ${kept.setting} a writable one`)];
  });
}

/** Its journal is gone with it. */
export function journalsOfCopies({ linkJournal: { value, source }, ephemeral }: MachineSpec): readonly Problem[] {
  if (!ephemeral.value || !["host", "guest"].includes(value)) return [];
  return [
    error(source, `LinkJournal=${value}: an ephemeral machine keeps no journal`, `try-${value} is no error with it`),
  ];
}

/** Handed over at once, in one message of the kernel's. */
const OVERLAYS_MAX = 200;

export function fewOverlays({ overlays }: MachineSpec): readonly Problem[] {
  const over = overlays[OVERLAYS_MAX];
  return over === undefined
    ? []
    : [error(over.source, `more than ${OVERLAYS_MAX} overlays are too many for one machine`)];
}
