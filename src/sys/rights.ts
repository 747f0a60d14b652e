import { LINUX_CAPABILITY_VERSION_3, PR_SET_NO_NEW_PRIVS } from "./constants.ts";
import { ARCH, bind, check, pinned } from "./libc.ts";
import { syscallNumber } from "./syscall-numbers.ts";

/**
 * What this thread may do to files. The calls themselves and not libc's, which change all threads: libuv's own never
 * touch a file here.
 */
const call1 = bind("long syscall(long number, long argument)");
const call2 = bind("long syscall(long number, long count, const void *list)");
const capsetCall = bind("long syscall(long number, const void *header, const void *data)");
const prctlCall = bind("int prctl(int option, ulong a, ulong b, ulong c, ulong d)");

// linux/capability.h
export const CAPABILITIES = {
  chown: 0,
  dacOverride: 1,
  dacReadSearch: 2,
  fowner: 3,
  fsetid: 4,
  setgid: 6,
  setuid: 7,
  setfcap: 31,
} as const;
export type CapabilityName = keyof typeof CAPABILITIES;

/** Files are made, and looked at, as this user and group: setfsuid(2), setfsgid(2). Capabilities go with user 0. */
export function setFileOwner(uid: number, gid: number): void {
  for (const [name, id] of [
    ["setfsgid", gid],
    ["setfsuid", uid],
  ] as const) {
    call1(syscallNumber(name, ARCH), id);
    // They say nothing of failures: what is set is asked by setting what can't be.
    if (call1(syscallNumber(name, ARCH), -1) !== id) throw new Error(`${name} did not set ${id}`);
  }
}

export function dropGroups(): void {
  check(call2(syscallNumber("setgroups", ARCH), 0, null), "setgroups");
}

export function setThreadCapabilities(
  effective: readonly CapabilityName[],
  permitted: readonly CapabilityName[],
): void {
  const header = pinned(8);
  header.writeUInt32LE(LINUX_CAPABILITY_VERSION_3, 0);
  const data = pinned(24);
  data.writeUInt32LE(maskOf(effective), 0);
  data.writeUInt32LE(maskOf(permitted), 4);
  check(capsetCall(syscallNumber("capset", ARCH), header, data), "capset");
}

/** Of those above, which all are below 32. */
function maskOf(names: readonly CapabilityName[]): number {
  return names.reduce((mask, name) => (mask | (1 << CAPABILITIES[name])) >>> 0, 0);
}

export function forbidNewPrivileges(): void {
  check(prctlCall(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl PR_SET_NO_NEW_PRIVS");
}
