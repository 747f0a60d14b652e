import { customMounts } from "../spec/custom-mounts.ts";
import { rootKind } from "../spec/root-kind.ts";
import { DEFAULT } from "../spec/source.ts";
import { diskOverlayFds, makeDiskOverlays } from "./disk.ts";
import { type PlanInput, terminalGroup } from "./input.ts";
import { apivfs, host, init, keeper } from "./make-step.ts";
import { makeOverlays, overlayFds } from "./overlays.ts";
import { removesMountPoints } from "./root.ts";
import { withContext } from "./selinux.ts";
import { combinesUsr, combineUsr, isStack, isStackRoot, lowerFds, stackUpper } from "./stack.ts";
import type { FdName, MountFlag, Step, StepKinds } from "./step.ts";
import { MEMORY_LIMITS } from "./volatile.ts";

interface KernelFileSystem {
  readonly fd: FdName;
  readonly type: string;
  readonly options: readonly string[];
  readonly flags: readonly MountFlag[];
  readonly target: string;
}

/** Shows the network namespace of who mounts it, who must have rights over that one. */
export const SYSFS: KernelFileSystem = {
  fd: "sys",
  type: "sysfs",
  options: [],
  flags: ["ro", "nosuid", "nodev", "noexec"],
  target: "/sys",
};

/** File systems that show the namespaces of who mounts them. Options and flags as systemd-nspawn has them. */
const KERNEL: readonly KernelFileSystem[] = [
  { fd: "proc", type: "proc", options: [], flags: ["nosuid", "nodev", "noexec"], target: "/proc" },
  SYSFS,
  { fd: "cgroup", type: "cgroup2", options: [], flags: ["nosuid", "nodev", "noexec"], target: "/sys/fs/cgroup" },
  {
    fd: "pts",
    type: "devpts",
    options: ["newinstance", "ptmxmode=0666", "mode=620"],
    flags: ["nosuid", "noexec"],
    target: "/dev/pts",
  },
  { fd: "mqueue", type: "mqueue", options: [], flags: ["nosuid", "nodev", "noexec"], target: "/dev/mqueue" },
];

/** Character devices that are safe in any machine: [path, major, minor] (Documentation/admin-guide/devices.txt). */
const DEVICES: readonly (readonly [string, number, number])[] = [
  ["/dev/null", 1, 3],
  ["/dev/zero", 1, 5],
  ["/dev/full", 1, 7],
  ["/dev/random", 1, 8],
  ["/dev/urandom", 1, 9],
  ["/dev/tty", 5, 0],
];

const LINKS: readonly (readonly [string, string])[] = [
  ["/dev/fd", "/proc/self/fd"],
  ["/dev/stdin", "/proc/self/fd/0"],
  ["/dev/stdout", "/proc/self/fd/1"],
  ["/dev/stderr", "/proc/self/fd/2"],
  ["/dev/core", "/proc/kcore"],
  ["/dev/ptmx", "pts/ptmx"],
];

/** Made by a child of init, which is in the machine's namespaces, and handed to the keeper. */
export function apiFileSystems(input: PlanInput): Step[] {
  const made = kernelFileSystems(input).map(({ fd, type, options, flags }) =>
    apivfs(
      "make-file-system",
      { fd, type, options: [...options], flags: [...flags] },
      type === "devpts" ? input.spec.selinuxApifsContext.source : DEFAULT,
    ),
  );
  return [
    init("make-api-file-systems", {}),
    ...made,
    ...makeOverlay(input),
    ...makeDiskOverlays(input),
    ...makeOverlays(input),
    init("signal", { sync: 5, to: "keeper", says: MADE, carries: madeFds(input) }),
  ];
}

/** The root of a machine whose changes are kept apart from its tree, or from what is below it. */
export function isOverlay(input: PlanInput): boolean {
  return ["layer", "memory layer"].includes(rootKind(input.spec)) || isStackRoot(input);
}

/** Whether the root, or all that it is to have, is made by a child of init. */
export function awaitsRoot(input: PlanInput): boolean {
  return isOverlay(input) || combinesUsr(input);
}

function makeOverlay(input: PlanInput): Step[] {
  const { spec } = input;
  const { ephemeral, volatile, privateUsers } = spec;
  const overlay = { fd: "overlay", lower: lowerFds(input) };
  switch (rootKind(spec)) {
    case "tree": {
      if (!isStackRoot(input)) return [];
      const upper = stackUpper(input);
      const limits = upper === null ? withContext(input, MEMORY_LIMITS) : [];
      return [apivfs("make-overlay", { ...overlay, upper, limits, attributes: "user" }, spec.root.source)];
    }
    case "layer":
      return [apivfs("make-overlay", { ...overlay, upper: "layer", limits: [], attributes: "user" }, ephemeral.source)];
    case "memory layer": {
      // Of trusted ones the root of a user namespace can't set any, and tmpfs has had others since Linux 6.6 only.
      const attributes = privateUsers.value.mode === "no" && !isStack(input) ? "trusted" : "user";
      return [
        apivfs(
          "make-overlay",
          { ...overlay, upper: null, limits: withContext(input, MEMORY_LIMITS), attributes },
          volatile.source,
        ),
      ];
    }
    case "memory":
      return combineUsr(input);
  }
}

const MADE = "the kernel's file systems are made";

/** What init hands over, in this order. */
function madeFds(input: PlanInput): FdName[] {
  return [
    ...kernelFileSystems(input).map(({ fd }) => fd),
    ...(isOverlay(input) ? ["overlay"] : []),
    ...(combinesUsr(input) ? ["usr"] : []),
    ...diskOverlayFds(input),
    ...overlayFds(input),
  ];
}

export function awaitApiFileSystems(input: PlanInput): Step[] {
  return [keeper("await", { sync: 5, from: "init", says: MADE, carries: madeFds(input) })];
}

/** In a user namespace the kernel refuses a new one of somebody else's network. */
function makesSysfs({ spec }: PlanInput): boolean {
  return spec.privateNetwork.value || spec.privateUsers.value.mode === "no";
}

function kernelFileSystems(input: PlanInput): readonly KernelFileSystem[] {
  const made = makesSysfs(input) ? KERNEL : KERNEL.filter((each) => each !== SYSFS);
  const group = `gid=${terminalGroup(input)}`;
  return made.map((each) =>
    each.type === "devpts" ? { ...each, options: withContext(input, [...each.options, group]) } : each,
  );
}

export function hostSysfs(input: PlanInput): Step[] {
  if (makesSysfs(input) || input.spec.networkNamespace.value !== undefined) return [];
  const flags = [...SYSFS.flags];
  return [
    host(
      "clone-tree",
      { fd: "sys", path: "/sys", inside: null, recursive: false, flags, propagation: "private" },
      input.spec.privateNetwork.source,
    ),
  ];
}

const TMP = { target: "/tmp", mode: 0o1777, options: ["size=50%", "nr_inodes=1m"] };
const TMP_FLAGS: readonly MountFlag[] = ["nosuid", "nodev", "strictatime"];

function tmp(input: PlanInput): StepKinds["mount-own-tmpfs"] {
  return { ...TMP, flags: [...TMP_FLAGS], options: withContext(input, TMP.options) };
}

/** Init mounts /tmp itself, so that it is not locked with the rest: inits unmount it when they shut down. */
export function ownMounts(input: PlanInput): Step[] {
  return mountsBelowTmp(input) ? [] : [init("mount-own-tmpfs", tmp(input), input.spec.selinuxApifsContext.source)];
}

/** What the keeper attaches needs something to lie on before. */
function mountsBelowTmp({ spec }: PlanInput): boolean {
  return customMounts(spec).some(({ target }) => `${target}/`.startsWith("/tmp/"));
}

/** Whether a place is on a file system that every machine has anew. */
export function isFresh(target: string): boolean {
  return /^\/(dev|run|tmp)(\/|$)/.test(target);
}

/** /dev and /run are fresh. */
export function freshFileSystems(input: PlanInput): Step[] {
  const remove = removesMountPoints(input);
  const { source } = input.spec.selinuxApifsContext;
  const tmpfs = (target: string, mode: number, flags: MountFlag[], options: string[]): Step => {
    const own = { options: withContext(input, options), remove: remove && !target.startsWith("/dev/") };
    return keeper("mount-tmpfs", { target, mode, flags, ...own }, source);
  };
  return [
    tmpfs("/dev", 0o755, ["nosuid", "strictatime"], ["size=4m", "nr_inodes=64k"]),
    ...DEVICES.map(([path, major, minor]) => keeper("make-node", { path, major, minor })),
    ...LINKS.map(([path, target]) => keeper("make-symlink", { path, target })),
    tmpfs("/dev/shm", 0o1777, ["nosuid", "nodev", "strictatime"], ["size=50%"]),
    tmpfs("/run", 0o755, ["nosuid", "nodev", "strictatime"], ["size=20%", "nr_inodes=800k"]),
    mountsBelowTmp(input)
      ? keeper("mount-tmpfs", { ...tmp(input), remove }, source)
      : keeper("make-mount-point", { path: TMP.target, remove }),
  ];
}

/** /proc, /sys and /dev must be plain directories of the tree. */
export function attachApiFileSystems(input: PlanInput): Step[] {
  const remove = removesMountPoints(input);
  return [
    ...KERNEL.map(({ fd, target }) => {
      const inTree = ["/proc", "/sys"].includes(target);
      const create = target === "/sys/fs/cgroup" ? null : "directory";
      return keeper("attach", { fd, target, create, api: true, remove: remove && inTree });
    }),
  ];
}
