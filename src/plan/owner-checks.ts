import { error, type Problem } from "../spec/problem.ts";
import { keeping } from "../spec/root-kind.ts";
import { BLOCK, diskBase, isHalfChowned } from "./id-blocks.ts";
import { type IdRange, idRange, type PlanInput } from "./input.ts";
import { canMap, isOwned, ownership } from "./owners.ts";

/** What of the tree's owners and PrivateUsersOwnership= can't come together. */
export function ownersFit(input: PlanInput): readonly Problem[] {
  const { spec, machine } = input;
  const { tree } = machine;
  if (spec.privateUsers.value.mode === "pick" && machine.rangeBase === null) return []; // said elsewhere
  const way = ownership(input);
  // Who owns the directory can put into it what root inside runs.
  if (tree.owner % BLOCK !== 0)
    return problem(
      input,
      `${spec.root.value} belongs to id ${tree.owner}, which is a user's and not root's`,
      "a root directory that belongs to root, or to the first id of a range",
      `chown ${tree.owner - (tree.owner % BLOCK)} ${spec.root.value}`,
    );
  if (isHalfChowned(tree)) {
    if (way === "chown") return chownFits(input);
    return problem(
      input,
      `a change of the owners in ${spec.root.value} was interrupted: it belongs to ids of two ranges`,
      "a tree of one range",
      "--private-users-ownership=chown goes on with it, also to ids from 0 on with --private-users=identity",
    );
  }
  const disk = diskBase(tree);
  if (disk === null && way !== "off")
    return problem(
      input,
      `${spec.root.value} belongs to user ${tree.owner} and group ${tree.group}, which are of two ranges`,
      "a root directory whose user and group are of the same 65536 ids",
      "chown the directory itself, to 0:0 for example",
    );
  if (way === null) return disk === 0 ? [] : chownedAway(input, disk ?? 0);
  return way === "chown" && !isOwned(input) ? chownFits(input) : [];
}

/** Without a user namespace there is no mapping, and root would find another's files. */
function chownedAway({ spec, machine }: PlanInput, disk: number): readonly Problem[] {
  return [
    {
      severity: "error",
      source: spec.privateUsers.source,
      what: `${spec.root.value} belongs to id ${machine.tree.owner}: it was chowned to the range from ${disk} on`,
      expected: "with PrivateUsers=no, a tree with ids from 0 on disk",
      hint: "PrivateUsers=yes uses that range, and --private-users=identity --private-users-ownership=chown chowns it back",
    },
  ];
}

/** As systemd-nspawn: what is on disk keeps its lower 16 bits. */
function chownFits(input: PlanInput): readonly Problem[] {
  const { spec, machine, host } = input;
  const { root } = spec;
  const range = idRange(input);
  const mapped = canMap(machine.tree.fsType, host.kernel.version);
  const other = mapped
    ? "PrivateUsersOwnership=map changes nothing on disk"
    : `no file system of type ${machine.tree.fsType} maps ids: copy the tree to another`;
  if (range === null || !isBlock(range))
    return problem(
      input,
      `the owners in ${root.value} can't be changed to the range ${range?.base}:${range?.size}`,
      `a multiple of ${BLOCK}, and ${BLOCK} ids from there on`,
      other,
    );
  if (spec.pivotRoot.value !== undefined)
    return problem(input, `PivotRoot= has a part of ${root.value} changed only`, "a tree that can be mapped", other);
  const kept = keeping(spec);
  if (kept !== null)
    return problem(
      input,
      `${kept.machine} would change the owners in ${root.value}`,
      "a tree that stays as it is",
      other,
    );
  if (machine.tree.readOnly)
    return problem(input, `${root.value} is read-only, so no owner in it can be changed`, "a writable tree", other);
  return [];
}

function isBlock({ base, size }: IdRange): boolean {
  return base % BLOCK === 0 && size === BLOCK;
}

function problem({ spec }: PlanInput, what: string, expected: string, hint: string): readonly Problem[] {
  const { source } = spec.ownership.source.from === "default" ? spec.root : spec.ownership;
  return [error(source, what, hint, expected)];
}
