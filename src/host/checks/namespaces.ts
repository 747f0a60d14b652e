import { countFreeRanges, PICK_WINDOW, RANGE_SIZE } from "../id-ranges.ts";
import { NAMESPACE_KINDS, type NamespaceKind } from "../survey.ts";
import { type Check, failed, ok, setSysctl, unknown, warning } from "./finding.ts";

const TITLES: Readonly<Record<NamespaceKind, string>> = {
  user: "user",
  mnt: "mount",
  pid: "PID",
  net: "network",
  ipc: "IPC",
  uts: "UTS",
  cgroup: "cgroup",
};

/** A machine takes one of each, and the services of a booted one many more mount namespaces, all charged to root. */
const FEW_NAMESPACES = 256;

export const namespaces: Check = (_, { namespaceLimits }) => {
  const named = (kinds: readonly NamespaceKind[]) => kinds.map((kind) => TITLES[kind]).join(", ");
  const absent = NAMESPACE_KINDS.filter((kind) => namespaceLimits[kind] === null);
  if (absent.length > 0) return failed("namespaces", `this kernel has no ${named(absent)} namespaces`);
  const forbidden = NAMESPACE_KINDS.filter((kind) => namespaceLimits[kind] === 0);
  const fix = (kinds: readonly NamespaceKind[]) =>
    kinds.map((kind) => setSysctl(`user.max_${kind}_namespaces`, 65536)).join(" && ");
  if (forbidden.length > 0) {
    return failed(
      "namespaces",
      `no ${named(forbidden)} namespace may be made (user.max_*_namespaces is 0)`,
      fix(forbidden),
    );
  }
  const few = NAMESPACE_KINDS.filter((kind) => (namespaceLimits[kind] ?? 0) < FEW_NAMESPACES);
  if (few.length > 0) {
    return warning(
      "namespaces",
      `few ${named(few)} namespaces may be made: several machines use them up (ENOSPC)`,
      fix(few),
    );
  }
  return ok("namespaces", named(NAMESPACE_KINDS));
};

/** Root of the host may always; these two stop root inside a machine, who is unprivileged here. */
export const nestedNamespaces: Check = (_, { sysctls }) => {
  const consequence = "systemd, browsers and containers inside machines may lose their own sandboxes";
  if (sysctls.unprivilegedUsernsClone === 0) {
    const setting = "kernel.unprivileged_userns_clone";
    return warning("nested namespaces", `${setting} is 0: ${consequence}`, setSysctl(setting, 1));
  }
  if (sysctls.appArmorRestrictsUserns === 1) {
    const setting = "kernel.apparmor_restrict_unprivileged_userns";
    return warning("nested namespaces", `${setting} is 1: ${consequence}`, setSysctl(setting, 0));
  }
  return ok("nested namespaces", "machines may make user namespaces of their own");
};

export const idRanges: Check = (_, { idMap, subordinateIds, machineRanges }) => {
  const { first, last } = PICK_WINDOW;
  if (idMap.length === 0) return unknown("id ranges", "/proc/self/uid_map cannot be read");
  const free = countFreeRanges(idMap, subordinateIds, new Set(machineRanges.map(({ start }) => start)));
  const window = `${first}-${last + RANGE_SIZE - 1}`;
  if (free > 0) {
    const detail = `${free} ranges of ${RANGE_SIZE} ids in ${window} are free for PrivateUsers=pick`;
    return free >= 200 ? ok("id ranges", detail) : warning("id ranges", `only ${detail}`);
  }
  const [machine, ...more] = machineRanges;
  if (machine !== undefined)
    return failed(
      "id ranges",
      `no range in ${window} is free: ${machine.machine} and ${more.length} more machines have ranges there`,
      "berth remove NAME gives its range back",
    );
  const whole = idMap.some(({ start, count }) => start <= first && start + count >= last + RANGE_SIZE);
  return whole
    ? failed(
        "id ranges",
        `/etc/subuid and /etc/subgid give away all of ${window}: no machine gets one`,
        "remove what nobody uses",
      )
    : failed("id ranges", `ids ${window} do not exist in this user namespace: no machine gets a range`);
};

/** A machine mounts its own of both; where ours are masked, the kernel refuses (see `masks`). */
export const freshMounts: Check = (_, { masks }) =>
  (["proc", "sysfs"] as const).map((fsType) => {
    const over = masks[fsType];
    const check = `mounting ${fsType}`;
    // One whole instance anywhere is enough (P), so nothing need be unmounted.
    const fix = `mkdir -p /run/berth-${fsType} && mount -t ${fsType} ${fsType} /run/berth-${fsType}`;
    if (over === null)
      return failed(check, `there is none here, and a machine gets its own only where we have one`, fix);
    if (over.length === 0) return ok(check, "ours is whole, so machines may mount their own");
    const shown = over.slice(0, 3).join(", ") + (over.length > 3 ? ` and ${over.length - 3} more` : "");
    return failed(check, `parts of ours are hidden (${shown}): the kernel refuses a machine its own then (EPERM)`, fix);
  });
