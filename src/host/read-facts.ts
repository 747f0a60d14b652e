import { BerthError } from "../errors.ts";
import type { HostFacts } from "../plan/facts.ts";
import { readCgroupFacts } from "./cgroups.ts";
import { type HostFiles, hostFiles, sysctl } from "./host-files.ts";
import { parseMachineId, timezoneOfLink } from "./identity.ts";
import { parseEffectiveCapabilities, parseKernelVersion } from "./kernel.ts";
import { parseHardLimits } from "./limits.ts";
import { parseMountinfo } from "./mountinfo.ts";
import { OS_RELEASE_PATHS, parseOsRelease } from "./os-release.ts";

/**
 * One pass over /proc, /sys and a few files of /etc: some 25 small reads, no child process and no FFI, because
 * every `berth run` and `berth plan` waits for it.
 *
 * @throws BerthError on another architecture than x86-64 and arm64, and where /proc is not mounted
 */
export function readHostFacts(files: HostFiles = hostFiles, arch: string = process.arch): HostFacts {
  if (arch !== "x64" && arch !== "arm64") {
    throw new BerthError(`this is ${arch}: berth runs on x86-64 and arm64`);
  }
  const release = required(files, "/proc/sys/kernel/osrelease").trim();
  return {
    arch,
    kernel: { release, version: parseKernelVersion(release) },
    cgroup: readCgroupFacts(files, parseMountinfo(required(files, "/proc/self/mountinfo"))),
    systemd: files.exists("/run/systemd/system"),
    selinux: files.exists("/sys/fs/selinux/enforce"),
    capabilities: parseEffectiveCapabilities(required(files, "/proc/self/status")),
    // 40 is CAP_CHECKPOINT_RESTORE, the last one since 5.9.
    lastCapability: sysctl(files, "kernel/cap_last_cap") ?? 40,
    hardLimits: parseHardLimits(required(files, "/proc/self/limits")),
    sysctls: {
      // No such file: a kernel without user namespaces.
      maxUserNamespaces: sysctl(files, "user/max_user_namespaces") ?? 0,
      threadsMax: sysctl(files, "kernel/threads-max"),
    },
    hostname: required(files, "/proc/sys/kernel/hostname").trim(),
    machineId: parseMachineId(files.text("/etc/machine-id")),
    bootId: required(files, "/proc/sys/kernel/random/boot_id").trim(),
    osRelease: readOsRelease(files),
    timezone: timezoneOfLink(files.link("/etc/localtime")),
    resolved: {
      stub: files.exists("/run/systemd/resolve/stub-resolv.conf"),
      uplink: files.exists("/run/systemd/resolve/resolv.conf"),
      static: files.exists("/usr/lib/systemd/resolv.conf"),
    },
  };
}

function required(files: HostFiles, path: string): string {
  const text = files.text(path);
  if (text === null) {
    throw new BerthError(`${path}: cannot be read`, { hint: "is /proc mounted? mount -t proc proc /proc" });
  }
  return text;
}

/** What the Container Interface hands to machines as container_host_*; the rest of the file is nobody's business. */
const OS_RELEASE_FIELDS = ["ID", "VERSION_ID", "BUILD_ID", "VARIANT_ID"];

function readOsRelease(files: HostFiles): Readonly<Record<string, string>> {
  for (const path of OS_RELEASE_PATHS) {
    const text = files.text(path);
    if (text === null) continue;
    return Object.fromEntries(
      Object.entries(parseOsRelease(text)).filter(([name]) => OS_RELEASE_FIELDS.includes(name)),
    );
  }
  return {};
}
