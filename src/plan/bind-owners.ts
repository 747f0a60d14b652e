import type { Bind } from "../spec/machine-spec.ts";
import { error, type Problem } from "../spec/problem.ts";
import { quote } from "../spec/quote.ts";
import { rootKind } from "../spec/root-kind.ts";
import { isFresh } from "./api-file-systems.ts";
import { bindKey, type Owners } from "./facts.ts";
import { idRange, type PlanInput, rootId } from "./input.ts";
import { host } from "./make-step.ts";
import { temporaryFits } from "./overlays.ts";
import { canMap, hostOwner, mapTree, ownerOnDisk, unmappedHint } from "./owners.ts";
import type { IdMapping, Step } from "./step.ts";

/** How the owners of a bind's source are told inside (systemd-nspawn(1), --bind=). */
export function mapBinds(input: PlanInput): Step[] {
  return input.spec.binds.flatMap((bind, index): Step[] => {
    const { idmap, fromRoot, recursive } = bind.value;
    const fd = `bind:${index}`;
    if (bind.value.source === "") return [host("map-owners", { fd, recursive, mapping: null }, bind.source)];
    if (idmap === "noidmap") return fromRoot ? mapTree(input, fd, recursive, bind) : [];
    return [host("map-owners", { fd, recursive, mapping: bindMapping(input, bind.value) }, bind.source)];
  });
}

/**
 * rootidmap, owneridmap: who has the source is one user and one group inside. systemd-nspawn maps the user's number for
 * both: then nobody inside may write to a source whose group has another, since the kernel wants both to be known.
 */
function bindMapping(input: PlanInput, bind: Bind): IdMapping | null {
  if (bind.idmap === "idmap") return null;
  const source = input.machine.mappedSources[bindKey(bind)] ?? ROOT;
  const inside =
    bind.idmap === "rootidmap" ? { owner: rootId(input), group: rootId(input) } : targetOwners(input, bind);
  const line = (id: number, to: number) => [{ disk: bind.fromRoot ? ownerOnDisk(input, id) : id, host: to, count: 1 }];
  return { uids: line(source.owner, inside.owner), gids: line(source.group, inside.group) };
}

const ROOT: Owners = { owner: 0, group: 0 };

/** The host's ids of who has the target inside; the mount point is root's where the tree has none. */
function targetOwners(input: PlanInput, { target }: Bind): Owners {
  const found = isOfTree(input, target) ? input.machine.targetOwners[target] : undefined;
  if (found === undefined) return { owner: rootId(input), group: rootId(input) };
  return { owner: hostOwner(input, found.owner), group: hostOwner(input, found.group) };
}

function isOfTree({ spec }: PlanInput, target: string): boolean {
  if (isFresh(target) || (spec.volatile.value === "state" && /^\/var(\/|$)/.test(target))) return false;
  return rootKind(spec) !== "memory" || target.startsWith("/usr/");
}

/** What of rootidmap and its like a file system or a target does not allow. */
export function bindOwnersFit(input: PlanInput): readonly Problem[] {
  const { spec, machine, host: facts } = input;
  const { mode } = spec.privateUsers.value;
  if (mode === "no" || (mode === "pick" && machine.rangeBase === null)) return [];
  return spec.binds.flatMap(({ value, source }): readonly Problem[] => {
    if (value.source === "") return temporaryFits(input, `the temporary directory on ${quote(value.target)}`, source);
    if (value.idmap === "noidmap") return [];
    const fsType = machine.mappedSources[bindKey(value)]?.fsType;
    if (fsType !== undefined && !canMap(fsType, facts.kernel.version))
      return [
        error(
          source,
          `${value.idmap} of ${quote(value.source)}: ${unmappedHint(fsType)}`,
          `noidmap shows owners as they are: chown what the machine is to have to ids from ${rootId(input)} on`,
          "a file system such as ext4, XFS or Btrfs",
        ),
      ];
    return value.idmap === "owneridmap" ? ownerOfTargetIsKnown(input, value, source) : [];
  });
}

function ownerOfTargetIsKnown(input: PlanInput, bind: Bind, source: Problem["source"]): readonly Problem[] {
  const range = idRange(input);
  if (range === null) return [];
  const { owner, group } = targetOwners(input, bind);
  const id = [owner, group].find((each) => each < range.base || each >= range.base + range.size);
  if (id === undefined) return [];
  const what = `owneridmap: ${quote(bind.target)} of the tree belongs to id ${id}, which is none of the machine's`;
  return [error(source, what, "rootidmap makes the source root's")];
}
