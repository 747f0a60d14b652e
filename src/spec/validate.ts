import { retainedCapabilities } from "./capabilities.ts";
import type { MachineSpec } from "./machine-spec.ts";
import {
  duplicateTargets,
  fewOverlays,
  idmappedBinds,
  journalsOfCopies,
  mountTargets,
  ownersOfTargets,
  writesOfKeptTrees,
} from "./mount-checks.ts";
import { pivotRoots } from "./pivot.ts";
import { error, type Problem, warning } from "./problem.ts";
import { quote } from "./quote.ts";
import { userWithoutPasswd, volatileOrReadOnly } from "./root-checks.ts";
import { showSource } from "./source.ts";
import { systemCallGroups } from "./system-calls.ts";

/** One rule about a whole machine, which no setting could check alone. */
interface Check {
  readonly name: string;
  readonly find: (spec: MachineSpec) => readonly Problem[];
}

/** In the order their problems are found; all of them run. */
export const CHECKS: readonly Check[] = [
  { name: "the root is an absolute path", find: rootPath },
  { name: "nothing contains a NUL byte", find: nulBytes },
  { name: "init arguments are no command", find: bootArguments },
  { name: "an init is PID 1, and berth's own says nothing", find: processTwo },
  { name: "an init is run by root", find: userOfInit },
  { name: "ambient capabilities are the machine's own", find: ambientCapabilities },
  { name: "mounts leave the root and the API file systems alone", find: mountTargets },
  { name: "mounts have different targets", find: duplicateTargets },
  { name: "id-mapped binds have a user namespace", find: idmappedBinds },
  { name: "owneridmap has a target with an owner", find: ownersOfTargets },
  { name: "bound users have a user namespace", find: boundUsers },
  { name: "there is one network", find: oneNetwork },
  { name: "what is read-only is not written to as well", find: volatileOrReadOnly },
  { name: "a tree that is to stay as it is is not written to", find: writesOfKeptTrees },
  { name: "a new root is another than the tree's", find: pivotRoots },
  { name: "a machine without /etc knows no users", find: userWithoutPasswd },
  { name: "a throw-away copy has no journal to keep", find: journalsOfCopies },
  { name: "overlays can be handed over", find: fewOverlays },
  { name: "the launch can make its system calls", find: launchCalls },
  { name: "credentials have different ids", find: duplicateCredentials },
  { name: "a unit that is kept is nobody's to place or limit", find: keptUnit },
  { name: "what is said of restarts is of use", find: uselessRestartSettings },
];

export function validate(spec: MachineSpec): readonly Problem[] {
  return CHECKS.flatMap(({ find }) => find(spec));
}

function rootPath({ root }: MachineSpec): readonly Problem[] {
  if (root.value.startsWith("/")) return [];
  return [error(root.source, `root directory ${quote(root.value)} is not an absolute path`)];
}

/** A path or an argument with one would be cut there by every system call. */
function nulBytes({ root, command }: MachineSpec): readonly Problem[] {
  return [
    ...(root.value.includes("\0") ? [error(root.source, "the root directory contains a NUL byte")] : []),
    ...(command.value.some((word) => word.includes("\0"))
      ? [error(command.source, "an argument of the command contains a NUL byte")]
      : []),
  ];
}

function duplicateCredentials({ credentials }: MachineSpec): readonly Problem[] {
  const ids = credentials.map(({ value }) => value.id);
  return credentials
    .filter(({ value }, index) => ids.indexOf(value.id) < index)
    .map(({ value, source }) => error(source, `credential ${quote(value.id)} is given more than once`));
}

/** As systemd-nspawn(1) has it, but not in silence. */
function keptUnit({ keepUnit, slice, unitProperties }: MachineSpec): readonly Problem[] {
  if (!keepUnit.value) return [];
  const others = [...(slice.source.from === "default" ? [] : [slice]), ...unitProperties];
  const hint = "the kept unit's own Slice= and limits count";
  return others.map(({ source }) => warning(source, "it has no effect with --keep-unit", hint));
}

function uselessRestartSettings({ restart, restartDelay, startBurst, startInterval }: MachineSpec): readonly Problem[] {
  if (restart.value !== "no") return [];
  return [restartDelay, startBurst, startInterval]
    .filter(({ source }) => source.from !== "default")
    .map(({ source }) => warning(source, "it has no effect without Restart=", "Restart=on-failure or always"));
}

function bootArguments({ boot, command }: MachineSpec): readonly Problem[] {
  const [first] = command.value;
  if (!boot.value || first?.startsWith("/") !== true) return [];
  const what = `${quote(first)} becomes an argument of the init, it is not run`;
  return [warning(command.source, what, "with Boot=no or without --boot it is run as PID 1")];
}

function processTwo({ processTwo: { value, source }, boot, notifyReady }: MachineSpec): readonly Problem[] {
  if (!value) return [];
  if (boot.value) return [error(source, "ProcessTwo=yes and Boot=yes exclude each other: an init has to be PID 1")];
  if (!notifyReady.value) return [];
  const what = "nobody would say that the machine is ready: PID 1 is the stub init of ProcessTwo=";
  return [error(notifyReady.source, what, "without NotifyReady= it is ready as soon as it runs")];
}

function userOfInit({ boot, user }: MachineSpec): readonly Problem[] {
  if (!boot.value || isRoot(user.value)) return [];
  const hint = "berth exec -u runs commands as a user in a machine that runs; berth run without --boot, one alone";
  return [error(user.source, `an init is run by root, not by user ${quote(user.value)}`, hint)];
}

export function isRoot(user: string): boolean {
  return user === "root" || user === "0";
}

function ambientCapabilities(spec: MachineSpec): readonly Problem[] {
  const { ambientCapabilities: ambient, boot, user } = spec;
  const retained = new Set<string>(
    retainedCapabilities(
      spec.capabilities.map(({ value }) => value),
      spec.privateNetwork.value,
    ),
  );
  return ambient.flatMap(({ value: names, source }) => {
    if (boot.value)
      return [error(source, "an init has no ambient capabilities: it is root and has all that are there")];
    const lacking = names.filter((name) => !retained.has(name));
    if (lacking.length > 0)
      return [error(source, `the machine does not have ${lacking.join(", ")} itself`, "Capability= gives it more")];
    return isRoot(user.value)
      ? [warning(source, "root has the machine's capabilities anyway", "User= is for others")]
      : [];
  });
}

function boundUsers({ bindUsers, bindUserShell, bindUserGroups, privateUsers }: MachineSpec): readonly Problem[] {
  const { value: shell, source } = bindUserShell;
  if (bindUsers.length === 0)
    return [
      ...(shell === false ? [] : [warning(source, "BindUserShell= has no effect without BindUser=")]),
      ...bindUserGroups.map((group) => warning(group.source, "it has no effect without BindUser=")),
    ];
  if (privateUsers.value.mode !== "no") return [];
  return bindUsers.map(({ value, source }) =>
    error(
      source,
      `user ${quote(value)} can't be bound with PrivateUsers=no`,
      "PrivateUsers=pick has ids for bound users",
    ),
  );
}

function oneNetwork({ privateNetwork, networkNamespace: { value, source } }: MachineSpec): readonly Problem[] {
  if (value === undefined || !privateNetwork.value) return [];
  const what = `a network of its own and the network namespace ${quote(value)} can't both be the machine's`;
  return [error(source, what, `drop Private=yes of ${showSource(privateNetwork.source)}, or NamespacePath=`)];
}

/** Between the loading of the filter and the start of init the launch itself makes these. */
const LAUNCH_CALLS = ["execve", "capset", "prctl", "close_range", "exit_group"];

function launchCalls({ systemCallFilter }: MachineSpec): readonly Problem[] {
  return systemCallFilter.flatMap(({ value: { change, names }, source }) => {
    if (change === "allow") return [];
    return names.flatMap((name) => {
      const members = groupMembers(name, new Set());
      const needed = LAUNCH_CALLS.filter((call) => members.has(call));
      if (needed.length === 0) return [];
      const group = name.startsWith("@");
      const what = `${name} cannot be denied: no machine starts without ${group ? needed.join(", ") : "it"}`;
      return [error(source, what, group ? "list those system calls of the group that are meant" : undefined)];
    });
  });
}

/** A system call, or those of a group and of the groups in it. */
function groupMembers(name: string, members: Set<string>): ReadonlySet<string> {
  if (members.has(name)) return members;
  members.add(name);
  for (const member of systemCallGroups().get(name) ?? []) groupMembers(member, members);
  return members;
}
