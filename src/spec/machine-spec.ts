import type { RlimitName } from "../plan/facts.ts";
import type { Sourced } from "./source.ts";

/**
 * A machine, complete and validated: what the settings files, drop-ins and the command line together ask for.
 * Nothing here is looked up on the host (see plan/facts.ts for that) and nothing is decided later: a value
 * whose meaning depends on the host is named here (`pick`, `auto`) and resolved by the planner from facts.
 *
 * Names and meanings are those of systemd.nspawn(5).
 */
export interface MachineSpec {
  /** `[A-Za-z0-9][A-Za-z0-9_.-]{0,63}`, no `..`, no trailing dot. */
  readonly name: string;
  /** Absolute path of the tree on the host. */
  readonly root: Sourced<string>;
  /** Boot= or -b: the tree's init is PID 1; otherwise `command` is. */
  readonly boot: Sourced<boolean>;
  /** ProcessTwo=: `command` is PID 2, below a stub init of berth's. */
  readonly processTwo: Sourced<boolean>;
  /** Parameters=, or the words after the options: the init's arguments (boot) or the command and its arguments. */
  readonly command: Sourced<readonly string[]>;
  readonly environment: readonly Sourced<EnvironmentVariable>[];
  readonly hostname: Sourced<string>;
  /** 32 lower-case hex digits; undefined: the tree's own /etc/machine-id, else a random one. */
  readonly machineId: Sourced<string | undefined>;
  /** Signal number; undefined: by the kind of init found in the tree (SIGRTMIN+3 for systemd). */
  readonly killSignal: Sourced<number | undefined>;
  /** NotifyReady=: the machine is ready when its init says READY=1, not as soon as it runs. */
  readonly notifyReady: Sourced<boolean>;
  /** Capability= and DropCapability=, each item with its own place; applied on top of the default set in order. */
  readonly capabilities: readonly Sourced<CapabilityChange>[];
  /** Canonical names, one item a line. */
  readonly ambientCapabilities: readonly Sourced<readonly string[]>[];
  /** A name of the tree's passwd(5), or a number. */
  readonly user: Sourced<string>;
  readonly systemCallFilter: readonly Sourced<SystemCallChange>[];
  /** SuppressSync=: fsync and its kin do nothing. */
  readonly suppressSync: Sourced<boolean>;
  /** RestrictAddressFamilies=, one item a line; none: as by default. */
  readonly addressFamilies: readonly Sourced<AddressFamilyChange>[];
  /** Undefined: `/`. */
  readonly workingDirectory: Sourced<string | undefined>;
  readonly noNewPrivileges: Sourced<boolean>;
  /** Undefined: the host's own. */
  readonly personality: Sourced<Personality | undefined>;
  /** -1000 (never killed) to 1000. */
  readonly oomScoreAdjust: Sourced<number>;
  /** CPUAffinity=, one item a line: the machine runs on all CPUs of all of them; none: on every CPU. */
  readonly cpuAffinity: readonly Sourced<readonly number[]>[];
  /** Limit*=: at most one of a resource. */
  readonly limits: readonly Sourced<ResourceLimit>[];
  readonly privateUsers: Sourced<PrivateUsers>;
  readonly ownership: Sourced<OwnershipMode>;
  readonly privateNetwork: Sourced<boolean>;
  /** File of an existing network namespace, which then is the machine's; privateNetwork is false. */
  readonly networkNamespace: Sourced<string | undefined>;
  /** Ephemeral= or -x: changes go to a throw-away overlay. */
  readonly ephemeral: Sourced<boolean>;
  /** ReadOnly=: nothing in the tree changes, not even in appearance. */
  readonly readOnly: Sourced<boolean>;
  readonly volatile: Sourced<VolatileMode>;
  /** Undefined: the tree itself is the root. */
  readonly pivotRoot: Sourced<PivotRoot | undefined>;
  readonly resolvConf: Sourced<ResolvConfMode>;
  readonly timezone: Sourced<TimezoneMode>;
  /** Bind= and BindReadOnly= in the order they were written; custom-mounts.ts says in which they are mounted. */
  readonly binds: readonly Sourced<Bind>[];
  readonly temporaryFileSystems: readonly Sourced<TemporaryFileSystem>[];
  /** Overlay= and OverlayReadOnly=. */
  readonly overlays: readonly Sourced<Overlay>[];
  /** Inaccessible=: paths of the machine. */
  readonly inaccessible: readonly Sourced<string>[];
  /** BindUser=: names of users of the host. */
  readonly bindUsers: readonly Sourced<string>[];
  /** Their shell: none said (false), the one they have on the host (true), or this one. */
  readonly bindUserShell: Sourced<boolean | string>;
  /** --bind-user-group=: groups of the machine that all of them are in. */
  readonly bindUserGroups: readonly Sourced<string>[];
  readonly linkJournal: Sourced<LinkJournal>;
  readonly console: Sourced<ConsoleMode>;
  /** --set-credential= and --load-credential=, in the order given. */
  readonly credentials: readonly Sourced<Credential>[];
  /** -Z: SELinux context that the payload is executed in; undefined: as the host's policy has it. */
  readonly selinuxContext: Sourced<string | undefined>;
  /** -L: the one of the files in the machine's file systems in memory, and of its terminals. */
  readonly selinuxApifsContext: Sourced<string | undefined>;
  /** --keep-unit: on a host that systemd runs, the machine is in the unit that berth was started in. */
  readonly keepUnit: Sourced<boolean>;
  /** Otherwise it has a scope of its own there, in this slice, */
  readonly slice: Sourced<string>;
  /** and with these properties, in the order given. */
  readonly unitProperties: readonly Sourced<UnitProperty>[];
  /** Restart=: after which ends berthd starts it again. Times are in ms. */
  readonly restart: Sourced<RestartMode>;
  /** Before the first restart. */
  readonly restartDelay: Sourced<number>;
  /** Starts within `startInterval`, the first one among them; 0: no limit. */
  readonly startBurst: Sourced<number>;
  /** Null: since it was started by command; 0: no limit. */
  readonly startInterval: Sourced<number | null>;
  /** To be ready; null: no limit. */
  readonly startTimeout: Sourced<number | null>;
  /** To end when it is to power off. */
  readonly stopTimeout: Sourced<number | null>;
}

export type SelinuxContexts = Pick<MachineSpec, "selinuxContext" | "selinuxApifsContext">;
export type UnitPlacement = Pick<MachineSpec, "keepUnit" | "slice" | "unitProperties">;

/** As systemctl set-property takes it: systemd.resource-control(5). */
export interface UnitProperty {
  readonly name: string;
  readonly value: string;
}

/**
 * Something secret that PID 1 gets in a file of its own (systemd.exec(5), "Credentials"). What it is comes nowhere near
 * a spec or a plan, which are printed and kept: `value` means that it was given on the command line.
 */
export interface Credential {
  /** A file name: see credentialIdFault(). */
  readonly id: string;
  readonly from:
    | { readonly kind: "value"; readonly size: number }
    /** Absolute: of a file, a socket to read from, or a directory, each file of which is a credential ID_FILE. */
    | { readonly kind: "path"; readonly path: string };
}

export interface EnvironmentVariable {
  readonly name: string;
  readonly value: string;
}

/** `names` are canonical (`CAP_NET_ADMIN`); `all` stands for every capability the kernel knows. */
export interface CapabilityChange {
  readonly change: "add" | "drop";
  readonly names: readonly string[] | "all";
}

/**
 * One RestrictAddressFamilies= line. The first one says whether it is a list of what may be used (allow) or may not
 * (deny); the families of a later line are added to that list, or taken from it where that line is of the other kind.
 */
export interface AddressFamilyChange {
  readonly change: "allow" | "deny" | "none";
  /** Known names, `AF_INET`. */
  readonly families: readonly string[];
}

/** In the units of setrlimit(2); null: unlimited. */
export interface ResourceLimit {
  readonly name: RlimitName;
  readonly soft: number | null;
  readonly hard: number | null;
}

export const PERSONALITIES = ["x86", "x86-64", "arm", "arm64"] as const;
export type Personality = (typeof PERSONALITIES)[number];

/** One SystemCallFilter= line: allow adds to the default allow list, deny (written with a leading ~) takes away. */
export interface SystemCallChange {
  readonly change: "allow" | "deny";
  /** System calls and groups (`@keyring`) as written, each known to exist. */
  readonly names: readonly string[];
}

/**
 * no: the host's users (a weaker machine). yes: the 65536 that the owner of the tree's root directory is of. pick: those,
 * or a free range of 65536 chosen by the ledger. identity: an own user namespace that maps 0..65535 to itself. range: as
 * given.
 */
export type PrivateUsers =
  | { readonly mode: "no" }
  | { readonly mode: "yes" }
  | { readonly mode: "pick" }
  | { readonly mode: "identity" }
  | { readonly mode: "range"; readonly base: number; readonly size: number };

/**
 * How the owners of a tree's files become the machine's. off: they are left as they are. map: the mount shows them so.
 * chown: they are changed on disk. auto: map, or chown where the file system can't.
 */
export const OWNERSHIP_MODES = ["off", "chown", "map", "auto"] as const;
export type OwnershipMode = (typeof OWNERSHIP_MODES)[number];

/** Absolute and clean. `newRoot` is of the tree; null: the old root is nowhere to be seen. */
export interface PivotRoot {
  readonly newRoot: string;
  readonly oldRoot: string | null;
}

/**
 * What of the machine is in memory, and gone with it. yes: all but the tree's /usr, which is read-only. state: /var, beside
 * a tree that is read-only. overlay: whatever it changes in its tree.
 */
export const VOLATILE_MODES = ["no", "yes", "state", "overlay"] as const;
export type VolatileMode = (typeof VOLATILE_MODES)[number];

/** A bind mount of a host path (or, with `fromRoot`, of a path in the tree: the `+` prefix) into the machine. */
export interface Bind {
  /** Empty: a temporary directory. */
  readonly source: string;
  readonly fromRoot: boolean;
  readonly target: string;
  readonly readOnly: boolean;
  readonly recursive: boolean;
  /**
   * noidmap: owners as the host has them (mostly nobody inside). idmap: host uid N shows as N inside.
   * rootidmap: the source's owner is root inside. owneridmap: the source's owner is the target's owner.
   */
  readonly idmap: "noidmap" | "idmap" | "rootidmap" | "owneridmap";
}

/** A directory of the host (or, with `fromRoot`, of the tree) in an overlay. */
export interface Layer {
  readonly source: string;
  readonly fromRoot: boolean;
}

export interface Overlay {
  readonly target: string;
  /** Lowest first, at least one. */
  readonly lower: readonly Layer[];
  /** The topmost, which takes all changes unless the overlay is read-only. Null: a temporary directory. */
  readonly upper: Layer | null;
  readonly readOnly: boolean;
}

export const LINK_JOURNAL_MODES = ["no", "auto", "host", "guest", "try-host", "try-guest"] as const;
export type LinkJournal = (typeof LINK_JOURNAL_MODES)[number];

export const TMPFS_FLAGS = [
  "ro",
  "nosuid",
  "nodev",
  "noexec",
  "noatime",
  "nodiratime",
  "relatime",
  "strictatime",
] as const;

/** A tmpfs of the machine's own. */
export interface TemporaryFileSystem {
  readonly target: string;
  /** Null: the kernel's own, 1777. */
  readonly mode: number | null;
  /** Of its root directory, as the machine's ids. */
  readonly uid: number;
  readonly gid: number;
  readonly flags: readonly (typeof TMPFS_FLAGS)[number][];
  /** Others of tmpfs(5), such as `size=10%`. */
  readonly options: readonly string[];
}

export const RESOLV_CONF_MODES = [
  "off",
  "copy-host",
  "copy-static",
  "copy-uplink",
  "copy-stub",
  "replace-host",
  "replace-static",
  "replace-uplink",
  "replace-stub",
  "bind-host",
  "bind-static",
  "bind-uplink",
  "bind-stub",
  "delete",
  "auto",
] as const;
export type ResolvConfMode = (typeof RESOLV_CONF_MODES)[number];

export const TIMEZONE_MODES = ["off", "copy", "bind", "symlink", "delete", "auto"] as const;
export type TimezoneMode = (typeof TIMEZONE_MODES)[number];

/** on-failure: PID 1 was killed or exited with a status that is not 0. always: also when the machine powered itself off. */
export const RESTART_MODES = ["no", "on-failure", "always"] as const;
export type RestartMode = (typeof RESTART_MODES)[number];

export const CONSOLE_MODES = ["interactive", "read-only", "passive", "pipe", "autopipe"] as const;
export type ConsoleMode = (typeof CONSOLE_MODES)[number] | "auto";
