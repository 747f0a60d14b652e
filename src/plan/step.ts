import type { ResourceLimit, TMPFS_FLAGS } from "../spec/machine-spec.ts";
import type { Source } from "../spec/source.ts";
import type { DiskAccess, DiskPart } from "./disk-part.ts";
import type { InitKind } from "./facts.ts";
import type { SeccompPolicy } from "./seccomp-policy.ts";

/**
 * Who carries a step out, in the order they come to life:
 * host   - berth itself, before the keeper is spawned and while the stage waits for it
 * keeper - the stage, outside: host root, in a mount namespace of its own where it assembles the machine's root
 * init   - cloned by the keeper into the machine's namespaces; ends by executing the payload
 * apivfs - a short-lived child of init that makes the kernel's file systems, which must belong to those namespaces
 */
export type Phase = "host" | "keeper" | "init" | "apivfs";

/** Name of an fd that a host step opens and a stage step uses: `root`, `bind:2`. Numbers exist only at run time. */
export type FdName = string;

/** Flags of a mount, in words; exec/ knows the bits. */
export type MountFlag = (typeof TMPFS_FLAGS)[number];

/** Every kind of step with its arguments. The union, the describer, the compiler and the executor derive from it. */
export interface StepKinds {
  // ---- host ----
  "lock-name": { path: string };
  "lock-tree": { tree: string; registry: string; shared: boolean };
  /** What is used by one machine at a time; `path` is the lock's. */
  "lock-use": { path: string; directory: string; as: "journal" | "layer" };
  "chown-tree": { path: string; base: number };
  "claim-range": { path: string; base: number; size: number; ledger: string | null };
  "make-record": { directory: string };
  "make-cgroup": { path: string; parents: string[]; controllers: string[] };
  "make-scope": { unit: string; slice: string; path: string };
  "delegate-cgroup": { path: string; owner: number };
  "set-unit-property": { unit: string; name: string; value: string };
  "use-unit": { unit: string; path: string };
  "enable-controllers": { path: string };
  "clone-tree": {
    fd: FdName;
    path: string;
    /** A path below `path`, which then is a tree that is not trusted: resolved with it as root. */
    inside: string | null;
    recursive: boolean;
    flags: MountFlag[];
    propagation: "private" | "slave";
  };
  /** A partition of a disk image, or all of one: by a loop device that goes with the mount. */
  "mount-part": { fd: FdName; image: string; part: DiskPart; access: DiskAccess };
  /** What is mounted below the mount itself. */
  "lock-submounts": { fd: FdName; flags: MountFlag[] };
  "open-network": { fd: FdName; path: string };
  "make-layer": {
    fd: FdName;
    directory: string;
    /** kept: what the machine changed before it rebooted. */
    content: "empty" | "kept";
  };
  /** `data`: the upper layer of an overlay, in a directory (see clone-tree); `work` is made beside it. */
  "open-upper": { fd: FdName; path: string; inside: string | null; data: string; work: string; owner: number };
  "make-journal": { path: string; owner: number };
  "link-journal": { path: string; target: string };
  /** `size` in bytes; null: known only when they are read. */
  "make-credentials": { fd: FdName; owner: number; ids: string[]; size: number | null };
  "make-user-records": { fd: FdName; owner: number; users: readonly BoundUser[] };
  "notify-socket": { directory: string; owner: number; fd: FdName };
  /** Where the keeper lets a new supervisor in, when the one that launched the machine is gone. */
  rendezvous: { directory: string };
  "load-filter": { policy: SeccompPolicy };
  /** What it makes while it waits, and has as limits then. */
  "spawn-stage": { namespaces: Namespace[]; limits: Limit[] };
  /** Those made ahead, as `<name>-namespace`. */
  "open-namespaces": { namespaces: Namespace[] };
  "hand-over": { title: string };
  "take-whole": Record<never, never>;
  "write-id-maps": { base: number; size: number };
  // `mapping`: null is the machine's own, of the whole range.
  "map-owners": { fd: FdName; recursive: boolean; mapping: IdMapping | null };
  "hold-machine": { pid: number; startTime: string; cgroup: string };
  "set-oom-score": { of: "init" | "stage"; score: number };
  /** Of the machine that is held. */
  "open-mounts": { fd: FdName; pid: number };
  /** Writes down that `fd` is a mount that berth makes, in the list that `file` is of the machine's boot that began at `boot`. */
  "note-mount": { fd: FdName; file: string; boot: string; target: string; source: string };
  /** Fails unless `fd` is the root of a mount with one of these ids (sys/mounts.ts). */
  "check-mount": { fd: FdName; target: string; ids: string[] };
  // ---- both sides of a sync point carry its number ----
  await: { sync: number; from: Phase; says: string; carries: FdName[] };
  signal: { sync: number; to: Phase; says: string; carries: FdName[] };
  // ---- keeper ----
  "begin-keeper": { foreground: boolean };
  "raise-limits": { limits: Limit[] };
  "unshare-mounts": Record<never, never>;
  "move-keeper": { path: string };
  "join-network": { fd: FdName };
  /** `ahead`: those of the namespaces that are there already. */
  "clone-init": { namespaces: Namespace[]; ahead: Namespace[]; cgroup: string };
  /** Into a machine that runs: all of its namespaces, and the cgroup. */
  "clone-inside": { namespaces: Namespace[]; cgroup: string };
  "act-as": { uid: number; capabilities: string };
  /** Somewhere in the keeper's own mount namespace, for init to copy. */
  "park-mount": { fd: FdName; type: NodeType };
  "attach-root": { fd: FdName };
  "mount-tmpfs": { target: string; mode: number; flags: MountFlag[]; options: string[]; remove: boolean };
  "make-directory": { path: string; mode: number };
  "make-node": { path: string; major: number; minor: number };
  "make-symlink": { path: string; target: string };
  "set-read-only": { path: string };
  "write-file": { path: string; mode: number; text: string };
  attach: { fd: FdName; target: string; create: "directory" | "file" | null; api: boolean; remove: Removal };
  "make-mount-point": { path: string; remove: boolean };
  "make-inaccessible": { path: string };
  cover: { target: string };
  mask: { path: string; over: "file" | "directory" };
  "lock-read-only": { path: string; except: string | null };
  console: { owner: number; group: number; size: WindowSize | null };
  // `temporary`: a name beside the file that nothing else has.
  "copy-file": { target: string; base64: string; replace: boolean; temporary: string };
  "replace-symlink": { path: string; target: string; directory: "keep" | "refuse"; temporary: string };
  "delete-file": { path: string; temporary: string };
  "enter-root": Record<never, never>;
  "leave-root": Record<never, never>;
  // ---- apivfs ----
  "make-file-system": { fd: FdName; type: string; options: string[]; flags: MountFlag[] };
  "make-overlay": {
    fd: FdName;
    /** Topmost first. */
    lower: FdName[];
    /** null: in memory, within `limits`, which are mount options of tmpfs(5). */
    upper: FdName | null;
    limits: string[];
    /** Where it keeps what it has to know of the files in there: `user.` needs no rights over the host. */
    attributes: "user" | "trusted";
  };
  /** `lower`: topmost first. `upper`: names in that mount. */
  "combine-layers": {
    fd: FdName;
    lower: FdName[];
    upper: { fd: FdName; data: string; work: string } | null;
    flags: MountFlag[];
  };
  // ---- init ----
  // `alone`: its other side is opened by somebody later.
  "open-terminal": { size: WindowSize | null; alone?: boolean };
  "enter-users": Record<never, never>;
  /** Copies the parked mount as `fd` so that nobody inside may change its flags or take apart what it consists of. */
  "lock-mount": { fd: FdName; type: NodeType };
  "enter-mounts": { fd: FdName };
  "attach-inside": { fd: FdName; target: string; create: NodeType | null };
  "open-inside": { fd: FdName; path: string };
  /** Unmounts what is mounted on the place that `fd` is. */
  detach: { fd: FdName };
  "label-process": { context: string };
  "become-root": { foreground: boolean };
  "start-session": Record<never, never>;
  unshare: { namespaces: Namespace[] };
  "loopback-up": Record<never, never>;
  "make-api-file-systems": Record<never, never>;
  "lock-mounts": Record<never, never>;
  "mount-own-tmpfs": { target: string; mode: number; flags: MountFlag[]; options: string[] };
  "set-hostname": { hostname: string };
  "join-keyring": Record<never, never>;
  stdio: { from: "console" | "caller" };
  "set-limits": { limits: Limit[] };
  "set-umask": { mask: number };
  "set-personality": { bits: 32 | 64 };
  "set-affinity": { cpus: number[] };
  // Not `required`: where it can't be entered, `/` will do.
  "change-directory": { path: string; required: boolean };
  "stay-as-init": { capabilities: string };
  "set-limit": Limit;
  // `keep`: capabilities to have until exec, as hex. `terminal`: stdin is one, which becomes the user's.
  "become-user": {
    uid: number;
    gid: number;
    groups: number[];
    keep: string;
    terminal: boolean;
    foreground: boolean;
  };
  "raise-ambient": { mask: string; capabilities: number[] };
  "no-new-privileges": Record<never, never>;
  "drop-bounding-set": { keep: number[]; last: number };
  "set-capabilities": { mask: string };
  "load-seccomp": Record<never, never>;
  // `directory`: null leaves it where it is. `init`: what of a tree's it is, where it is one.
  execute: {
    candidates: string[];
    /** Empty: a login shell, called by the name of the one that is there. */
    argv: string[];
    environment: string[];
    directory: string | null;
    init?: InitKind;
  };
}

/** What a mount point is, as far as the kernel distinguishes them. */
export type NodeType = "directory" | "file";

/** Whether what is made of a mount point is removed: when the machine has ended or its launch failed, or only in the latter case. */
export type Removal = boolean | "after-failure";

/** A user of the host as the machine has it: one id for user and group, a home, a shell if it is to have one. */
export interface BoundUser {
  readonly name: string;
  readonly uid: number;
  readonly home: string;
  readonly shell: string | null;
  /** More groups; of those that the tree does not have, the id is not known. */
  readonly groups: readonly { readonly name: string; readonly gid: number | null }[];
}

/** How a mount shows owners: `count` ids from `disk` on, as the file system has them, are the host's from `host` on. */
export interface IdMapLine {
  readonly disk: number;
  readonly host: number;
  readonly count: number;
}

export interface IdMapping {
  readonly uids: readonly IdMapLine[];
  readonly gids: readonly IdMapLine[];
}

export type Limit = ResourceLimit;

/** In characters, as struct winsize of tty_ioctl(4) has it. */
export interface WindowSize {
  readonly rows: number;
  readonly columns: number;
}

export type Namespace = "mount" | "user" | "pid" | "net" | "ipc" | "uts" | "cgroup";
export type StepKind = keyof StepKinds;

/** One step of a plan: data only, so that a plan can be printed, saved, compared and run by another process. */
export type Step = {
  [K in StepKind]: {
    readonly phase: Phase;
    readonly kind: K;
    readonly args: Readonly<StepKinds[K]>;
    readonly source: Source;
  };
}[StepKind];

export type StepOf<K extends StepKind> = Extract<Step, { kind: K }>;

/** A plan: the whole start of one machine, in order. */
export interface LaunchPlan {
  readonly machine: string;
  readonly steps: readonly Step[];
}
