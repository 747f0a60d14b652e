import { type CustomMount, customMounts } from "./custom-mounts.ts";
import type { MachineSpec } from "./machine-spec.ts";
import { error, type Problem, warning } from "./problem.ts";
import { quote } from "./quote.ts";
import { keeping } from "./root-kind.ts";
import { type Source, showSource } from "./source.ts";

/** Rules about what the settings mount; see validate.ts. */

const NAMES: Readonly<Record<CustomMount["kind"], string>> = { bind: "bind target", tmpfs: "tmpfs target" };

export function mountTargets(spec: MachineSpec): readonly Problem[] {
  return customMounts(spec).flatMap(({ kind, target, source }) => {
    const what = `${NAMES[kind]} ${quote(target)}`;
    if (target === "/") return [error(source, `${what} would hide the whole tree`, ROOT_HINTS[kind])];
    if (/^\/(proc|sys|dev)$/.test(target) || /^\/(proc|sys)\//.test(target))
      return [error(source, `${what} lies in a file system that the machine needs for itself`)];
    return [];
  });
}

const ROOT_HINTS: Readonly<Record<CustomMount["kind"], string>> = {
  bind: "the root is set by --directory",
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

export function idmappedBinds({ binds, privateUsers }: MachineSpec): readonly Problem[] {
  if (privateUsers.value.mode !== "no") return [];
  return binds
    .filter(({ value }) => value.idmap !== "noidmap")
    .map(({ value, source }) => warning(source, `${value.idmap} has no effect with PrivateUsers=no`));
}

/** The source of a + bind is the tree itself. */
export function bindsOfKeptTrees(spec: MachineSpec): readonly Problem[] {
  const kept = keeping(spec);
  if (kept === null) return [];
  return spec.binds
    .filter(({ value }) => value.fromRoot && !value.readOnly)
    .map(({ value: { source: path }, source }) =>
      error(
        source,
        `${kept.machine} would write to ${quote(path)} of its tree`,
        `a read-only bind of it is possible, and without ${kept.setting} a writable one`,
      ),
    );
}
