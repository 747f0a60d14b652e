import { accessSync, constants, readFileSync, realpathSync, type StatsFs, statfsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { HostFacts } from "../plan/facts.ts";
import { cgroupFile, legacyControllers, parseMemberships, unifiedMount } from "./cgroups.ts";
import { type HostFiles, hostFiles, sysctl, words } from "./host-files.ts";
import { type IdRange, parseIdMap, parseSubordinateIds } from "./id-ranges.ts";
import { isReadOnly, type Mount, masks, mountOf, parseMountinfo } from "./mountinfo.ts";
import type { Paths } from "./paths.ts";
import { ledgerPath, readLedger } from "./ranges.ts";

/**
 * What `berth doctor` looks at besides HostFacts: slower to read and no business of the planner. Plain values, so
 * that a survey in a bug report gives the same findings again. Null: this user may not see it, or it is not there.
 */
export interface Survey {
  readonly euid: number;
  /** Whether we are in the host's first namespace of each kind. */
  readonly initialNamespaces: { readonly pid: boolean; readonly user: boolean; readonly cgroup: boolean };
  /** What the outer manager calls itself (`docker`, `lxc`), where we are in a container. */
  readonly container: string | null;
  readonly idMap: readonly IdRange[];
  readonly subordinateIds: readonly IdRange[];
  /** Those that machines have; none where that can't be told. */
  readonly machineRanges: readonly { readonly machine: string; readonly start: number }[];
  readonly cgroup: CgroupSurvey;
  /** user.max_*_namespaces */
  readonly namespaceLimits: Readonly<Record<NamespaceKind, number | null>>;
  readonly sysctls: Readonly<Record<keyof typeof SYSCTLS, number | null>>;
  /** Actions of kernel.seccomp.actions_avail; empty: no seccomp. */
  readonly seccompActions: readonly string[];
  readonly overlay: "loaded" | "module" | "missing";
  /** Mounts over parts of /proc and /sys (see `masks`); null: no whole instance is mounted. */
  readonly masks: { readonly proc: readonly string[] | null; readonly sysfs: readonly string[] | null };
  readonly appArmorProfile: string | null;
  readonly selinux: "enforcing" | "permissive" | null;
  readonly stores: { readonly machines: StoreSurvey; readonly cache: StoreSurvey };
  /** Where each program is in PATH. */
  readonly programs: Readonly<Record<Program, string | null>>;
  readonly libseccomp: boolean;
  readonly runtime: { readonly version: string; readonly path: string; readonly pinned: string | null };
}

export interface CgroupSurvey {
  readonly readOnly: boolean;
  /** Options of the cgroup2 mount, `nsdelegate` among them or not. */
  readonly options: readonly string[];
  /** From the mount to our own cgroup: which controllers each has. */
  readonly chain: readonly { readonly directory: string; readonly controllers: readonly string[] }[];
  /** Controllers bound to v1 and where they are mounted (null: nowhere we see). */
  readonly legacy: Readonly<Record<string, string | null>>;
}

export interface StoreSurvey {
  readonly path: string;
  /** The directory itself, or the nearest one above it that exists. */
  readonly existing: string;
  readonly mode: number | null;
  readonly owner: number | null;
  readonly fsType: string | null;
  readonly readOnly: boolean;
  /** Bytes: f_bavail of statfs(2), what df calls available. */
  readonly freeBytes: number | null;
  /** Null also on file systems without a fixed number (btrfs). */
  readonly freeInodes: number | null;
}

export const NAMESPACE_KINDS = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] as const;
export type NamespaceKind = (typeof NAMESPACE_KINDS)[number];

const SYSCTLS = {
  /** Debian's and Ubuntu's patch */
  unprivilegedUsernsClone: "kernel/unprivileged_userns_clone",
  appArmorRestrictsUserns: "kernel/apparmor_restrict_unprivileged_userns",
  inotifyInstances: "fs/inotify/max_user_instances",
  inotifyWatches: "fs/inotify/max_user_watches",
  keys: "kernel/keys/maxkeys",
  pidMax: "kernel/pid_max",
} as const;

export const PROGRAMS = ["mmdebstrap", "apt-get", "dnf", "zypper", "pacman", "apk"] as const;
export type Program = (typeof PROGRAMS)[number];

/** `pinned`: the exact Node version that berth's package.json asks for, null where that is not known. */
export function readSurvey(
  facts: HostFacts,
  paths: Paths,
  pinned: string | null,
  files: HostFiles = hostFiles,
  env: NodeJS.ProcessEnv = process.env,
): Survey {
  const mounts = parseMountinfo(files.text("/proc/self/mountinfo") ?? "");
  return {
    euid: process.geteuid?.() ?? 0,
    initialNamespaces: readInitialNamespaces(files),
    container: readContainer(files),
    idMap: parseIdMap(files.text("/proc/self/uid_map") ?? ""),
    machineRanges: [...(attempt(() => readLedger(ledgerPath(paths.machines)).ranges) ?? [])].map(
      ([machine, start]) => ({
        machine,
        start,
      }),
    ),
    subordinateIds: ["/etc/subuid", "/etc/subgid"].flatMap((path) => parseSubordinateIds(files.text(path) ?? "")),
    cgroup: readCgroupSurvey(files, facts, mounts),
    namespaceLimits: record(NAMESPACE_KINDS, (kind) => sysctl(files, `user/max_${kind}_namespaces`)),
    sysctls: record(Object.keys(SYSCTLS) as (keyof typeof SYSCTLS)[], (name) => sysctl(files, SYSCTLS[name])),
    seccompActions: words(files.text("/proc/sys/kernel/seccomp/actions_avail")),
    overlay: readOverlay(files, facts),
    masks: { proc: masks(mounts, "proc"), sysfs: masks(mounts, "sysfs") },
    appArmorProfile: readAppArmorProfile(files),
    selinux: readSelinux(files),
    stores: { machines: readStore(paths.machines, mounts), cache: readStore(paths.cache, mounts) },
    programs: record(PROGRAMS, (name) => findProgram(name, env)),
    libseccomp: findLibrary("libseccomp.so.2"),
    runtime: { version: process.versions.node, path: process.execPath, pinned },
  };
}

function record<K extends string, V>(keys: readonly K[], value: (key: K) => V): Readonly<Record<K, V>> {
  return Object.fromEntries(keys.map((key) => [key, value(key)])) as Record<K, V>;
}

/** The first namespaces have inode numbers fixed by the kernel: include/uapi/linux/nsfs.h. */
const INITIAL_NAMESPACES = { pid: "4026531836", user: "4026531837", cgroup: "4026531835" } as const;

function readInitialNamespaces(files: HostFiles): Survey["initialNamespaces"] {
  const kinds = ["pid", "user", "cgroup"] as const;
  return record(kinds, (kind) => {
    const link = files.link(`/proc/self/ns/${kind}`);
    return link === null || link === `${kind}:[${INITIAL_NAMESPACES[kind]}]`;
  });
}

/** The marks of the Container Interface of systemd, docker and podman. */
function readContainer(files: HostFiles): string | null {
  const named = files.text("/run/systemd/container") ?? files.text("/run/host/container-manager");
  if (named !== null && named.trim() !== "") return named.trim();
  const environment = files.text("/proc/1/environ")?.split("\0") ?? [];
  const variable = environment.find((entry) => entry.startsWith("container="))?.slice("container=".length);
  if (variable !== undefined && variable !== "") return variable;
  if (files.exists("/run/.containerenv")) return "podman";
  return files.exists("/.dockerenv") ? "docker" : null;
}

function readCgroupSurvey(files: HostFiles, facts: HostFacts, mounts: readonly Mount[]): CgroupSurvey {
  const mount = unifiedMount(mounts);
  const legacy = legacyControllers(parseMemberships(files.text("/proc/self/cgroup") ?? ""));
  const v1 = mounts.filter(({ fsType }) => fsType === "cgroup");
  return {
    readOnly: mount !== null && isReadOnly(mount),
    options: mount?.superOptions ?? [],
    chain: mount === null ? [] : readChain(files, mount.point, facts.cgroup.own),
    legacy: record(legacy, (name) => v1.find(({ superOptions }) => superOptions.includes(name))?.point ?? null),
  };
}

function readChain(files: HostFiles, mount: string, own: string): CgroupSurvey["chain"] {
  const names = own.split("/").filter((name) => name !== "");
  return Array.from({ length: names.length + 1 }, (_, depth) => {
    const path = `/${names.slice(0, depth).join("/")}`;
    return {
      directory: depth === 0 ? mount : `${mount}${path}`,
      controllers: words(files.text(cgroupFile(mount, path, "cgroup.controllers"))),
    };
  });
}

function readOverlay(files: HostFiles, facts: HostFacts): Survey["overlay"] {
  if (/\boverlay$/m.test(files.text("/proc/filesystems") ?? "")) return "loaded";
  const modules = `/lib/modules/${facts.kernel.release}`;
  const lists = ["modules.dep", "modules.builtin"].map((name) => files.text(`${modules}/${name}`) ?? "");
  return lists.some((list) => /\/overlay\.ko/.test(list)) ? "module" : "missing";
}

function readAppArmorProfile(files: HostFiles): string | null {
  if (files.text("/sys/module/apparmor/parameters/enabled")?.trim() !== "Y") return null;
  const own = files.text("/proc/self/attr/apparmor/current") ?? files.text("/proc/self/attr/current");
  return own?.trim() ?? null;
}

function readSelinux(files: HostFiles): Survey["selinux"] {
  const enforce = files.text("/sys/fs/selinux/enforce")?.trim();
  if (enforce === undefined) return null;
  return enforce === "1" ? "enforcing" : "permissive";
}

function readStore(path: string, mounts: readonly Mount[]): StoreSurvey {
  const existing = nearestDirectory(path);
  const mount = mountOf(mounts, attempt(() => realpathSync(existing)) ?? existing);
  const space = attempt(() => statfsSync(existing));
  const stat = existing === path ? attempt(() => statSync(path)) : null;
  return {
    path,
    existing,
    mode: stat === null ? null : stat.mode & 0o7777,
    owner: stat?.uid ?? null,
    fsType: mount?.fsType ?? null,
    readOnly: mount !== null && isReadOnly(mount),
    freeBytes: space === null ? null : space.bavail * space.bsize,
    freeInodes: space === null ? null : inodes(space),
  };
}

function inodes(space: StatsFs): number | null {
  return space.files === 0 ? null : space.ffree;
}

function nearestDirectory(path: string): string {
  const stat = attempt(() => statSync(path, { throwIfNoEntry: false }));
  return stat?.isDirectory() || path === "/" ? path : nearestDirectory(dirname(path));
}

function findProgram(name: string, env: NodeJS.ProcessEnv): string | null {
  // A user's PATH often lacks the sbin directories.
  const directories = [...(env["PATH"] ?? "").split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];
  const candidates = directories
    .filter((directory) => directory.startsWith("/"))
    .map((directory) => join(directory, name));
  return candidates.find((path) => attempt(() => accessSync(path, constants.X_OK)) !== null) ?? null;
}

/** The dynamic loader's own list, ld.so(8), or the usual directories where libc has none (musl). */
function findLibrary(name: string): boolean {
  if (attempt(() => readFileSync("/etc/ld.so.cache").includes(`${name}\0`))) return true;
  return ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"].some(
    (directory) => attempt(() => statSync(join(directory, name))) !== null,
  );
}

/** Null: it failed, mostly because this user may not look. */
function attempt<T>(look: () => T): T | null {
  try {
    return look();
  } catch {
    return null;
  }
}
