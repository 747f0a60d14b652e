import { atLeast, type KernelVersion } from "../kernel.ts";
import { type Check, failed, installPackage, ok, warning } from "./finding.ts";

const OLDEST_TESTED: KernelVersion = [6, 1];

/** What berth uses that is newer than 5.4, from the man pages of the calls. */
const FEATURES: readonly { readonly since: KernelVersion; readonly needed: boolean; readonly what: string }[] = [
  { since: [5, 7], needed: true, what: "starting a machine inside its cgroup (CLONE_INTO_CGROUP)" },
  { since: [5, 11], needed: true, what: "closing every descriptor before init (CLOSE_RANGE_CLOEXEC)" },
  { since: [5, 12], needed: true, what: "idmapped mounts (mount_setattr)" },
  { since: [5, 14], needed: true, what: "killing a machine at once (cgroup.kill)" },
  { since: [5, 19], needed: false, what: "clones and ephemeral machines (overlay on idmapped layers)" },
];

export const kernel: Check = ({ kernel: { release, version } }) => {
  if (atLeast(version, OLDEST_TESTED)) return ok("kernel", release);
  const missing = FEATURES.filter(({ since }) => !atLeast(version, since));
  const upgrade = "boot a kernel of 6.1 or later";
  if (missing.length === 0)
    return warning("kernel", `${release} works, but 6.1 is the oldest berth is tested with`, upgrade);
  const list = missing.map(({ since, what }) => `${what} needs ${since.join(".")}`).join("; ");
  const detail = `${release} is too old, unless its maker ported newer features back: ${list}`;
  return missing.some(({ needed }) => needed) ? failed("kernel", detail, upgrade) : warning("kernel", detail, upgrade);
};

export const seccomp: Check = (_, survey) => [
  survey.seccompActions.includes("errno")
    ? ok("seccomp", "system calls can be filtered")
    : failed(
        "seccomp",
        "this kernel filters no system calls (CONFIG_SECCOMP_FILTER): a layer of every machine is missing",
      ),
  survey.libseccomp
    ? ok("libseccomp", "found")
    : failed(
        "libseccomp",
        "libseccomp.so.2 was not found: system call filters cannot be made",
        installPackage(survey, "libseccomp2", "libseccomp"),
      ),
];

export const appArmor: Check = (_, { appArmorProfile }) => {
  if (appArmorProfile === null) return ok("AppArmor", "not enabled, or hidden from us");
  if (appArmorProfile.startsWith("unconfined")) return ok("AppArmor", "enabled, this process is unconfined");
  return warning(
    "AppArmor",
    `this process is confined by ${appArmorProfile}: unless that profile allows it, mounts fail with EACCES`,
    "start berth unconfined (in docker: --security-opt apparmor=unconfined)",
  );
};

export const selinux: Check = (_, { selinux: mode }) => {
  if (mode === null) return [];
  if (mode === "permissive") return ok("SELinux", "permissive");
  return warning(
    "SELinux",
    "enforcing: berth sets no labels, so the policy may stop machines",
    "ausearch -m avc -ts recent (shows what was denied)",
  );
};
