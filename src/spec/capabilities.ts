import type { CapabilityChange } from "./machine-spec.ts";

/** In the order of linux/capability.h: the index is the kernel's number (capabilities(7), 0..40 as of Linux 6.18). */
export const CAPABILITIES = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_DAC_READ_SEARCH",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETPCAP",
  "CAP_LINUX_IMMUTABLE",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_BROADCAST",
  "CAP_NET_ADMIN",
  "CAP_NET_RAW",
  "CAP_IPC_LOCK",
  "CAP_IPC_OWNER",
  "CAP_SYS_MODULE",
  "CAP_SYS_RAWIO",
  "CAP_SYS_CHROOT",
  "CAP_SYS_PTRACE",
  "CAP_SYS_PACCT",
  "CAP_SYS_ADMIN",
  "CAP_SYS_BOOT",
  "CAP_SYS_NICE",
  "CAP_SYS_RESOURCE",
  "CAP_SYS_TIME",
  "CAP_SYS_TTY_CONFIG",
  "CAP_MKNOD",
  "CAP_LEASE",
  "CAP_AUDIT_WRITE",
  "CAP_AUDIT_CONTROL",
  "CAP_SETFCAP",
  "CAP_MAC_OVERRIDE",
  "CAP_MAC_ADMIN",
  "CAP_SYSLOG",
  "CAP_WAKE_ALARM",
  "CAP_BLOCK_SUSPEND",
  "CAP_AUDIT_READ",
  "CAP_PERFMON",
  "CAP_BPF",
  "CAP_CHECKPOINT_RESTORE",
] as const;
export type CapabilityName = (typeof CAPABILITIES)[number];

/** What a machine keeps without any Capability= (systemd-nspawn(1), --capability=). */
const DEFAULT_SET: readonly CapabilityName[] = [
  "CAP_AUDIT_CONTROL",
  "CAP_AUDIT_WRITE",
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_DAC_READ_SEARCH",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_IPC_OWNER",
  "CAP_KILL",
  "CAP_LEASE",
  "CAP_LINUX_IMMUTABLE",
  "CAP_MKNOD",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_BROADCAST",
  "CAP_NET_RAW",
  "CAP_SETFCAP",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_ADMIN",
  "CAP_SYS_BOOT",
  "CAP_SYS_CHROOT",
  "CAP_SYS_NICE",
  "CAP_SYS_PTRACE",
  "CAP_SYS_RESOURCE",
  "CAP_SYS_TTY_CONFIG",
];

/** The default set of a machine with or without a network namespace of its own. */
export function defaultCapabilities(privateNetwork: boolean): ReadonlySet<CapabilityName> {
  return privateNetwork ? WITH_NETWORK : WITHOUT_NETWORK;
}

const WITHOUT_NETWORK: ReadonlySet<CapabilityName> = new Set(DEFAULT_SET);
const WITH_NETWORK: ReadonlySet<CapabilityName> = new Set([...DEFAULT_SET, "CAP_NET_ADMIN"]);
/** The same in the kernel's order: what most machines have, which is asked for five times a start. */
const inOrder = (set: ReadonlySet<string>): readonly CapabilityName[] => CAPABILITIES.filter((name) => set.has(name));
const UNCHANGED = inOrder(WITHOUT_NETWORK);
const UNCHANGED_WITH_NETWORK = inOrder(WITH_NETWORK);

/**
 * The set that is left after all changes, in the kernel's order. As in nspawn everything is added before anything is
 * dropped, so a DropCapability= always holds, wherever it was written.
 */
export function retainedCapabilities(
  changes: readonly CapabilityChange[],
  privateNetwork: boolean,
): readonly CapabilityName[] {
  if (changes.length === 0) return privateNetwork ? UNCHANGED_WITH_NETWORK : UNCHANGED;
  const retained = new Set<string>(defaultCapabilities(privateNetwork));
  for (const { change, names } of changes) if (change === "add") for (const name of listed(names)) retained.add(name);
  for (const { change, names } of changes)
    if (change === "drop") for (const name of listed(names)) retained.delete(name);
  return inOrder(retained);
}

function listed(names: CapabilityChange["names"]): readonly string[] {
  return names === "all" ? CAPABILITIES : names;
}

const NUMBERS: ReadonlyMap<string, number> = new Map(CAPABILITIES.map((name, number) => [name, number]));

/** The canonical name of `cap_net_admin`, `CAP_NET_ADMIN` or `12`; undefined when there is no such capability. */
export function capabilityName(text: string): CapabilityName | undefined {
  if (/^[0-9]{1,3}$/.test(text)) return CAPABILITIES[Number(text)];
  const upper = text.toUpperCase();
  return CAPABILITIES.find((name) => name === upper);
}

/** The kernel's number, the bit in a capability mask; undefined for a name that is none. */
export function capabilityNumber(name: string): number | undefined {
  return NUMBERS.get(name);
}
