import type { HostFacts } from "../../plan/facts.ts";
import type { Survey } from "../survey.ts";
import { type Check, type Finding, failed, ok, warning } from "./finding.ts";

export const hierarchy: Check = ({ cgroup, systemd }, { cgroup: survey }) => {
  if (cgroup.mount === null) {
    const v1 = cgroup.mode === "v1";
    return failed(
      "cgroup2",
      `not mounted${v1 ? ", only v1 is" : ""}: a machine is started in, counted by and killed through its cgroup2`,
      // Where systemd manages v1, /sys/fs/cgroup itself is a read-only tmpfs.
      v1 ? "mkdir -p /run/cgroup2 && mount -t cgroup2 none /run/cgroup2" : "mount -t cgroup2 none /sys/fs/cgroup",
    );
  }
  if (survey.readOnly) {
    return failed(
      "cgroup2",
      `${cgroup.mount} is read-only: no cgroup can be made for a machine`,
      `mount -o remount,rw ${cgroup.mount} (in docker: --privileged, or --cgroupns=private with a writable mount)`,
    );
  }
  if (cgroup.mode === "hybrid") {
    const detail = `${cgroup.mount}, beside v1 hierarchies: machines can mount those and read what cgroups the host has`;
    return warning("cgroup2", detail, "boot with cgroup_no_v1=all");
  }
  if (!survey.options.includes("nsdelegate")) {
    const remount = `mount -o remount,nsdelegate ${cgroup.mount}`;
    const detail = `${cgroup.mount} without nsdelegate: the kernel sees no border between a machine's cgroup and ours`;
    return warning("cgroup2", detail, remount);
  }
  return ok("cgroup2", `${cgroup.mount}${systemd ? ", managed by systemd" : ""}`);
};

/** What a machine's limits and accounting come from: cgroup-v2 in the kernel's admin guide. */
const CONTROLLERS: Readonly<Record<string, string>> = {
  cpu: "CPU shares and quotas",
  memory: "memory limits and usage",
  pids: "task limits",
  io: "I/O limits",
};

export const controllers: Check = (facts, survey) => {
  if (facts.cgroup.mount === null) return [];
  const available = availableControllers(facts, survey);
  const missing = Object.keys(CONTROLLERS).filter((name) => !available.includes(name));
  if (missing.length === 0) return ok("cgroup controllers", Object.keys(CONTROLLERS).join(", "));
  const reasons = missing.map((name) => `no ${CONTROLLERS[name]} (${name} ${whereIs(name, survey)})`);
  return { ...warning("cgroup controllers", reasons.join(", ")), ...fixFor(missing, facts, survey) };
};

/** systemd makes the machine's scope and enables all there are on the way to it; otherwise cgroups are made below ours. */
function availableControllers({ systemd, cgroup }: HostFacts, survey: Survey): readonly string[] {
  return systemd ? (survey.cgroup.chain[0]?.controllers ?? []) : cgroup.controllers;
}

/** io is called blkio in v1. */
function legacyName(name: string): string {
  return name === "io" ? "blkio" : name;
}

function whereIs(name: string, { cgroup }: Survey): string {
  const mount = cgroup.legacy[legacyName(name)];
  if (typeof mount === "string") return `is at v1's ${mount}`;
  if (mount === null) return "is bound to v1";
  return holderOf(name, cgroup.chain) === undefined ? "is not in this kernel" : "is not enabled for our cgroup";
}

function holderOf(name: string, chain: Survey["cgroup"]["chain"]): string | undefined {
  return chain.findLast(({ controllers: names }) => names.includes(name))?.directory;
}

function fixFor(missing: readonly string[], { systemd }: HostFacts, { cgroup }: Survey): Pick<Finding, "fix"> {
  if (missing.some((name) => legacyName(name) in cgroup.legacy)) {
    // Both are for the kernel's command line.
    return { fix: `boot with ${systemd ? "systemd.unified_cgroup_hierarchy=1" : "cgroup_no_v1=all"}` };
  }
  const holder = missing.map((name) => holderOf(name, cgroup.chain)).find((directory) => directory !== undefined);
  if (holder === undefined) return {};
  const enabled = missing.filter((name) => holderOf(name, cgroup.chain) === holder).map((name) => `+${name}`);
  return { fix: `echo ${enabled.join(" ")} > ${holder}/cgroup.subtree_control` };
}
