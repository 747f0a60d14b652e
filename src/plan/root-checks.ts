import { error, type Problem } from "../spec/problem.ts";
import { isEtcWritable, isRootReadOnly, rootKind, writesTree } from "../spec/root-kind.ts";
import type { Source } from "../spec/source.ts";
import type { PlanInput } from "./input.ts";
import { canMap, isOwned } from "./owners.ts";

type Check = (input: PlanInput) => readonly Problem[];

const CHECKS: readonly Check[] = [
  hostStaysAsItIs,
  usrIsMerged,
  initIsInUsr,
  layerIsPossible,
  memoryTakesLayers,
  etcFollowsHost,
];

/** What of the tree can't come together with ReadOnly=, Volatile= and Ephemeral=. */
export function rootFits(input: PlanInput): readonly Problem[] {
  return CHECKS.flatMap((check) => check(input));
}

/** As systemd-nspawn: a machine in the host's own root would change it under the host. */
function hostStaysAsItIs({ spec, machine }: PlanInput): readonly Problem[] {
  const { root } = spec;
  if (!machine.tree.isHostRoot) return [];
  const what = `${root.value} is the host's own root`;
  if (writesTree(spec))
    return [error(root.source, what, "-x runs in a throw-away copy", "a tree of the machine's own")];
  // With the root go all mounts below it, of kinds that map no ids: /proc is the first.
  if (spec.privateUsers.value.mode === "no") return [];
  const hint = "--private-users=no runs it, as systemd-nspawn does: root inside is root on the host then";
  return [error(spec.privateUsers.source, `${what}, and what is mounted below it can't all be mapped`, hint)];
}

const MEMORY_HINT = "Volatile=overlay keeps changes of any tree in memory";

/** As systemd-nspawn: what is there beside /usr would be missing. */
function usrIsMerged({ spec, machine }: PlanInput): readonly Problem[] {
  if (machine.usr === null || machine.usr.bin === null) return [];
  const { source } = spec.volatile;
  if (machine.usr.bin === "other") return [error(source, `/bin of ${spec.root.value} is neither a link nor missing`)];
  const what = `${spec.root.value} has programs in a /bin of its own, which Volatile=yes would leave out`;
  return [error(source, what, MEMORY_HINT, "a tree whose /bin, /sbin and /lib are links into /usr (merged /usr)")];
}

function initIsInUsr({ spec, machine }: PlanInput): readonly Problem[] {
  const init = machine.tree.init?.path;
  if (machine.usr === null || !spec.boot.value || init === undefined) return [];
  const [, top = ""] = init.split("/");
  if (top === "usr" || machine.usr.links[top] !== undefined) return [];
  const what = `the init ${init} of ${spec.root.value} is not in /usr, all that Volatile=yes takes of the tree`;
  return [error(spec.volatile.source, what, MEMORY_HINT)];
}

/** What an ephemeral machine changes is kept beside its tree. */
function layerIsPossible(input: PlanInput): readonly Problem[] {
  const { spec, machine, host } = input;
  const { layer, tree } = machine;
  const version = host.kernel.version;
  const { mode } = spec.privateUsers.value;
  const users = mode !== "no";
  if (mode === "pick" && machine.rangeBase === null) return []; // said elsewhere
  if (layer === null || (users && !canMap(tree.fsType, version) && !isOwned(input))) return []; // said elsewhere
  const refuse = (why: string): readonly Problem[] => {
    const what = `what an ephemeral machine changes is kept beside ${spec.root.value}, ${why}`;
    return [error(spec.ephemeral.source, what, "Volatile=overlay keeps it in memory")];
  };
  if (layer.readOnly) return refuse("on a read-only file system");
  if (layer.fsType === "overlay") return refuse("on an overlay, which can't keep those of another");
  // As the machine's root, or that one could not write to it.
  if (!users || canMap(layer.fsType, version)) return [];
  return refuse(`on a file system of type ${layer.fsType}, which maps no ids`);
}

const USER_ATTRIBUTES: readonly [number, number] = [6, 6];

/** An overlay marks directories that were made anew by attributes. */
function memoryTakesLayers({ spec, host, machine }: PlanInput): readonly Problem[] {
  if (rootKind(spec) !== "memory layer") return [];
  // Those of a stack are for every user's overlays.
  if (spec.privateUsers.value.mode === "no" && machine.storage.kind !== "stack") return [];
  const [major, minor] = host.kernel.version;
  if (major > USER_ATTRIBUTES[0] || (major === USER_ATTRIBUTES[0] && minor >= USER_ATTRIBUTES[1])) return [];
  const what = `before Linux 6.6 a tmpfs has no attributes that the root of a user namespace may set; this is ${host.kernel.release}`;
  return [error(spec.volatile.source, what, "Ephemeral=yes keeps changes on disk as long as the machine runs")];
}

/** What is asked for by name is done or refused; `auto` leaves alone what can't be written to. */
function etcFollowsHost({ spec, machine }: PlanInput): readonly Problem[] {
  const { resolvConf, timezone, root } = spec;
  if (isEtcWritable(spec, machine.tree.readOnly)) return [];
  const why = isRootReadOnly(spec) ? "is to be read-only" : "is on a read-only file system";
  const refuse = (source: Source, what: string, bind: string): Problem =>
    error(source, `${what} of ${root.value} can't be changed: the tree ${why}`, bind);
  return [
    ...(/^(copy|replace)-|^delete$/.test(resolvConf.value)
      ? [refuse(resolvConf.source, "/etc/resolv.conf", "ResolvConf=bind-host mounts the host's file over it")]
      : []),
    ...(["copy", "symlink", "delete"].includes(timezone.value)
      ? [refuse(timezone.source, "/etc/localtime", "Timezone=bind mounts the host's file over it")]
      : []),
  ];
}
