import type { Bind } from "../spec/machine-spec.ts";
import type { DiskMount, DiskPart } from "./disk-part.ts";

/**
 * What the planner knows about the host and the tree. Read once, by src/host/, into plain values: the planner
 * itself touches nothing, so the same facts give the same plan on any machine, in a test or in a bug report.
 * Everything is JSON-able; `berth doctor --json` prints HostFacts.
 */
export interface HostFacts {
  readonly arch: "x64" | "arm64";
  /** uname -r, and its first two numbers for comparisons. */
  readonly kernel: { readonly release: string; readonly version: readonly [number, number] };
  readonly cgroup: CgroupFacts;
  /** systemd is this host's PID 1 (sd_booted(3): /run/systemd/system exists). */
  readonly systemd: boolean;
  /** SELinux is on (its file system is mounted: selinux(8)). */
  readonly selinux: boolean;
  /** Effective capabilities of this process, bit N = capability N, as lower-case hex (a bigint is no JSON). */
  readonly capabilities: string;
  /** Highest capability the kernel knows, /proc/sys/kernel/cap_last_cap. */
  readonly lastCapability: number;
  /** Hard limits of this process by prlimit name (`nofile`); null = unlimited. */
  readonly hardLimits: Readonly<Record<RlimitName, number | null>>;
  readonly sysctls: {
    /** user.max_user_namespaces */
    readonly maxUserNamespaces: number;
    /** kernel.threads-max; null: it could not be read. */
    readonly threadsMax: number | null;
  };
  readonly hostname: string;
  readonly machineId: string | null;
  readonly bootId: string;
  /** os-release of the host: ID and VERSION_ID, BUILD_ID and VARIANT_ID where set (container_host_* of the Container Interface). */
  readonly osRelease: Readonly<Record<string, string>>;
  /** Target of the host's /etc/localtime below zoneinfo/ (`Europe/Berlin`), null when it is no such link. */
  readonly timezone: string | null;
  /** systemd-resolved's stub and uplink files that exist on this host. */
  readonly resolved: { readonly stub: boolean; readonly uplink: boolean; readonly static: boolean };
}

export const RLIMIT_NAMES = [
  "cpu",
  "fsize",
  "data",
  "stack",
  "core",
  "rss",
  "nproc",
  "nofile",
  "memlock",
  "as",
  "locks",
  "sigpending",
  "msgqueue",
  "nice",
  "rtprio",
  "rttime",
] as const;
/** In the order of RLIMIT_* in asm-generic/resource.h: the index is the kernel's number on x86-64 and arm64. */
export type RlimitName = (typeof RLIMIT_NAMES)[number];

export interface CgroupFacts {
  /** v2: only the unified hierarchy; hybrid: v1 controllers with a cgroup2 beside them; v1: no cgroup2 mounted. */
  readonly mode: "v2" | "hybrid" | "v1" | "none";
  /** Where cgroup2 is mounted, null where it is not. */
  readonly mount: string | null;
  /** This process's cgroup2 path below the mount, `/` at the root. */
  readonly own: string;
  /** Controllers available at `own`. */
  readonly controllers: readonly string[];
}

/** What is known about one machine's tree and bind sources before it starts. */
export interface MachineFacts {
  readonly tree: TreeFacts;
  readonly storage: StorageFacts;
  /** By bindKey. */
  readonly bindSources: Readonly<Record<string, PathFacts>>;
  /** The same of binds that map owners: those that are there. */
  readonly mappedSources: Readonly<Record<string, MappedSource>>;
  /** For owneridmap: who has the targets that the tree has, on disk. */
  readonly targetOwners: Readonly<Record<string, Owners>>;
  /** Of overlays, by bindKey. */
  readonly layers: Readonly<Record<string, LayerFacts>>;
  /** What temporary directories will be on; null: none are asked for. */
  readonly temporaryFsType: string | null;
  /** Null: LinkJournal= asks for nothing. */
  readonly journal: JournalFacts | null;
  /** First host id of the machine's range, as the ledger would give it now; null without a user namespace or none free. */
  readonly rangeBase: number | null;
  /** The host's resolv.conf that ResolvConf= asks for, in base64; null: none is asked for, or there is none. */
  readonly resolvConf: string | null;
  /** The host's /etc/localtime in base64, null unless Timezone=copy or bind asks for it. */
  readonly localtime: string | null;
  /** fs.nr_open: the highest limit on open files there is; null: it could not be read, or no setting asks for one. */
  readonly openFilesMax: number | null;
  /** Who User= names; null: root. */
  readonly user: UserSearch | null;
  /** For BindUser=, null without. */
  readonly bindUsers: BindUserFacts | null;
  /** The directory that an ephemeral machine's changes go to, null for others. */
  readonly layer: FileSystemFacts | null;
  /** What a file system in memory takes of the tree: for Volatile=yes, else null. */
  readonly usr: UsrFacts | null;
  /** What /etc/resolv.conf of the tree leads to, where the host's file is to be bound over it; else null. */
  readonly resolvConfPlace: "file" | "missing" | "other" | null;
  /** A new random machine id, for a tree that has none. 32 hex digits. */
  readonly randomId: string;
  /** Where credentials are loaded from, by path. */
  readonly credentialSources: Readonly<Record<string, CredentialFacts>>;
}

export type CredentialFacts =
  | { readonly type: "file"; readonly size: number }
  /** Only reading tells how much there is: a directory's files, a socket, a pipe. */
  | { readonly type: "other" }
  /** errno name of the failed look-up. */
  | { readonly type: "missing"; readonly errno: string };

/** Key of a bind's source in bindSources: a path of the host and the same path in the tree are two things. */
export function bindKey({ source, fromRoot }: Pick<Bind, "source" | "fromRoot">): string {
  return fromRoot ? `+${source}` : source;
}

export type PathFacts =
  | { readonly type: "directory" | "file" }
  /** errno name of the failed look-up, `ENOENT` mostly. */
  | { readonly type: "missing"; readonly errno: string };

export interface JournalFacts {
  /** /var/log/journal of the host is a directory. */
  readonly kept: boolean;
  /** What is in it by the machine's id; `target` absolute. */
  readonly entry:
    | { readonly type: "missing" | "other" }
    | { readonly type: "link"; readonly target: string }
    | { readonly type: "directory"; readonly owner: number; readonly isEmpty: boolean; readonly isMountPoint: boolean };
  /** /var/log/journal of the tree is reached through no link, as far as it is there. */
  readonly isPlainInTree: boolean;
  /** The machine itself, if it runs, or another that has the same id. */
  readonly usedBy: "nobody" | "itself" | "another";
}

export type LayerFacts =
  | {
      readonly type: "directory";
      /** Without links; of a path in the tree the one in it. */
      readonly path: string;
      readonly fsType: string;
      readonly isMountPoint: boolean;
      /** `device:inode`, of one on the host. */
      readonly inode: string | null;
    }
  | { readonly type: "file" }
  | { readonly type: "missing"; readonly errno: string };

/** Ids on disk. */
export interface Owners {
  readonly owner: number;
  readonly group: number;
}

export interface MappedSource extends Owners {
  /** As in /proc/self/mountinfo. */
  readonly fsType: string;
}

export interface TreeFacts {
  /** It is the host's own root directory, by whatever path. */
  readonly isHostRoot: boolean;
  /** False: it could not be read (planning without root); the other fields then hold what a Debian tree would. */
  readonly readable: boolean;
  /** Owner of the tree's root directory on disk: 0, or the base of a range it was chowned to. */
  readonly owner: number;
  /** Its group, of the same range where the tree is sound. */
  readonly group: number;
  /** Type of the file system the tree is on, as in /proc/self/mountinfo (`ext4`, `btrfs`, `overlay`). */
  readonly fsType: string;
  readonly readOnly: boolean;
  /** Path of the init inside the tree, what it is and what it is built for. Null: none found. */
  readonly init: { readonly path: string; readonly kind: InitKind; readonly machine: InitMachine } | null;
  /** What is in an init's place instead, a sentence. */
  readonly initFault?: string;
  readonly osRelease: Readonly<Record<string, string>> | null;
  /** /etc/machine-id of the tree: 32 hex digits, or null where it is absent, empty or "uninitialized". */
  readonly machineId: string | null;
  /** The tree has its own zoneinfo file for HostFacts.timezone. */
  readonly hasTimezone: boolean;
  /** Target of the tree's /etc/localtime below zoneinfo/, null when it is no such link. */
  readonly timezone: string | null;
}

/** How the image keeps its tree: what a start has to open. */
export type StorageFacts =
  | { readonly kind: "directory" }
  | {
      /** An overlay of directories, the topmost first. */
      readonly kind: "stack";
      readonly layers: readonly string[];
      /** Has `data` and `work`, which it is written to with. Null: it can't be written to. */
      readonly rw: string | null;
    }
  | {
      /** Partitions of a disk image. */
      readonly kind: "disk";
      readonly root: DiskPart;
      /** What is mounted below it, in this order. */
      readonly mounts: readonly DiskMount[];
    };

export interface FileSystemFacts {
  /** As in /proc/self/mountinfo (`ext4`, `btrfs`, `overlay`). */
  readonly fsType: string;
  readonly readOnly: boolean;
}

/** A tree whose programs and libraries are all in /usr. */
export interface UsrFacts {
  /** Directories of the root that are links into /usr, by name: `bin` and `usr/bin`. */
  readonly links: Readonly<Record<string, string>>;
  /** What /bin is where it is not one. */
  readonly bin: "directory" | "other" | null;
  /** Of a stack: the trees whose /usr it is put together of, topmost first. */
  readonly roots?: readonly string[];
}

/** A user of the machine, from its passwd(5) and group(5). */
export interface UserFacts {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  /** All groups, `gid` first. */
  readonly groups: readonly number[];
  /** Absolute. */
  readonly home: string;
  readonly shell: string;
}

/** `missing`: what is wrong, to follow the tree's path in a sentence; `known`: the users there are. */
export type UserSearch = UserFacts | { readonly missing: string; readonly known: readonly string[] };

/** Users of the host by name, null where it has none, and what the tree's passwd and group have already. */
export interface BindUserFacts {
  readonly host: Readonly<Record<string, HostUser | null>>;
  readonly tree: {
    /** Names of users to bind that are taken. */
    readonly names: readonly string[];
    /** Numbers of users and groups. */
    readonly ids: readonly number[];
    /** Its groups, by name, of those that bound users are to be in. */
    readonly groups: Readonly<Record<string, number>>;
  };
}

export interface HostUser {
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
  readonly homeFacts: PathFacts;
}

export type InitKind = "systemd" | "sysvinit" | "openrc" | "runit" | "busybox" | "other";

/** By the ELF header; a script runs wherever its interpreter does. */
export type InitMachine = "x86-64" | "aarch64" | "i386" | "arm" | "script" | "unknown";
