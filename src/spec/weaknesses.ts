import { defaultCapabilities, retainedCapabilities } from "./capabilities.ts";
import type { Bind, MachineSpec } from "./machine-spec.ts";
import { printable } from "./quote.ts";
import type { Source } from "./source.ts";

/** One thing that makes a machine weaker than berth's default, in words, and what asked for it. */
export interface Weakness {
  readonly what: string;
  readonly source: Source;
}

/** User ids below this belong to the host's own users on any distribution. */
const HOST_USERS_END = 65536;

/**
 * Everything asked for that is weaker than the default, for printing at start and in status. Empty for a default machine.
 * `exposed`: users of the host can come to its tree (host/exposure.ts). `disk`: first id of the tree's owners on disk.
 */
export function weaknesses(spec: MachineSpec, exposed: boolean, disk = 0): readonly Weakness[] {
  return [
    ...(exposed ? [treeWeakness(spec)] : []),
    ...userWeaknesses(spec, disk),
    ...networkWeaknesses(spec),
    ...capabilityWeaknesses(spec),
    ...systemCallWeaknesses(spec),
    ...bindWeaknesses(spec),
    ...overlayWeaknesses(spec),
    ...journalWeaknesses(spec),
    ...userBindWeaknesses(spec),
    ...schedulingWeaknesses(spec),
  ];
}

/** Whatever range it has: on disk, what belongs to root inside belongs to root. */
function treeWeakness({ root: { value, source } }: MachineSpec): Weakness {
  const path = printable(value);
  const what = `users of the host can come to ${path} and run set-user-ID programs that root inside makes there`;
  return { what: `${what}: a directory above it should have mode 0700`, source };
}

function userWeaknesses({ privateUsers: { value, source } }: MachineSpec, disk: number): readonly Weakness[] {
  if (value.mode === "no") return [{ what: "no user namespace: root inside is root on the host", source }];
  if (value.mode === "identity" || (value.mode === "yes" && disk < HOST_USERS_END))
    return [{ what: "its users have the same ids as the host's users", source }];
  if (value.mode === "range" && value.base < HOST_USERS_END)
    return [{ what: `its users share ids from ${value.base} on with the host's users`, source }];
  return [];
}

function networkWeaknesses({ privateNetwork: { value, source }, networkNamespace }: MachineSpec): readonly Weakness[] {
  const path = networkNamespace.value;
  if (path !== undefined)
    return [
      {
        what: `it shares the network of ${printable(path)}, abstract sockets included, with all others there`,
        source: networkNamespace.source,
      },
    ];
  return value ? [] : [{ what: "it shares the host's network, abstract sockets included", source }];
}

function capabilityWeaknesses({ capabilities, privateNetwork }: MachineSpec): readonly Weakness[] {
  const usual = defaultCapabilities(privateNetwork.value);
  const retained = retainedCapabilities(
    capabilities.map((each) => each.value),
    privateNetwork.value,
  );
  const extra = retained.filter((name) => !usual.has(name));
  return capabilities.flatMap(({ value: { change, names }, source }) => {
    if (change === "drop") return [];
    if (names === "all") return extra.length === 0 ? [] : [{ what: "it keeps all capabilities", source }];
    const added = extra.filter((name) => names.includes(name));
    return added.length === 0 ? [] : [{ what: `it has more capabilities: ${added.join(", ")}`, source }];
  });
}

function systemCallWeaknesses({ systemCallFilter }: MachineSpec): readonly Weakness[] {
  return systemCallFilter
    .filter(({ value }) => value.change === "allow")
    .map(({ value, source }) => ({ what: `it may make more system calls: ${value.names.join(", ")}`, source }));
}

function bindWeaknesses({ binds }: MachineSpec): readonly Weakness[] {
  return binds
    .filter(({ value }) => !value.readOnly && !value.fromRoot && value.source !== "")
    .map(({ value, source }) => {
      const asRoot = AS_ON_HOST[value.idmap];
      return { what: `it may write to ${printable(value.source)} of the host${asRoot}`, source };
    });
}

function journalWeaknesses({ linkJournal: { value, source }, ephemeral }: MachineSpec): readonly Weakness[] {
  if (ephemeral.value) return [];
  if (value.endsWith("host")) return [{ what: "it may fill its directory in /var/log/journal of the host", source }];
  if (!value.endsWith("guest")) return [];
  return [
    { what: "the host's journalctl reads what root inside puts in the place of its journal, links included", source },
  ];
}

/** With a user namespace the layers' owners are the machine's. */
function overlayWeaknesses({ overlays, privateUsers }: MachineSpec): readonly Weakness[] {
  const asRoot = privateUsers.value.mode === "no" ? "" : AS_ON_HOST.idmap;
  return overlays.flatMap(({ value: { upper, readOnly }, source }) =>
    readOnly || upper === null || upper.fromRoot
      ? []
      : [{ what: `it may write to ${printable(upper.source)} of the host${asRoot}`, source }],
  );
}

const AS_ON_HOST: Readonly<Record<Bind["idmap"], string>> = {
  noidmap: "",
  idmap: ", with owners and set-user-ID bits as on the host",
  rootidmap: " as its owner, set-user-ID bits included",
  owneridmap: " as its owner, set-user-ID bits included",
};

function userBindWeaknesses({ bindUsers }: MachineSpec): readonly Weakness[] {
  return bindUsers.map(({ value, source }) => ({
    what: `root inside may do what the host's user ${printable(value)} may in the home directory, and reads the hash of the password`,
    source,
  }));
}

/** RLIMIT_NICE of a process that may not go below nice level 0: 20 less the level (setrlimit(2)). */
const NICE_0 = 20;

/** What the machine may take from the rest of the host by being served first. */
function schedulingWeaknesses({ oomScoreAdjust, limits }: MachineSpec): readonly Weakness[] {
  const limited = limits.flatMap(({ value: { name, hard }, source }): Weakness[] => {
    if (name === "rtprio" && hard !== 0)
      return [{ what: "it may take the host's CPUs by real-time scheduling", source }];
    if (name === "nice" && (hard === null || hard > NICE_0))
      return [{ what: "its processes may be served before the host's by a negative nice level", source }];
    return [];
  });
  if (oomScoreAdjust.value >= 0) return limited;
  const what = `the host's processes are killed before its own when memory is short (${oomScoreAdjust.value})`;
  return [{ what, source: oomScoreAdjust.source }, ...limited];
}
