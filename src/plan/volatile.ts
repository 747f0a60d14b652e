import { pathInTree } from "../spec/pivot.ts";
import { rootKind } from "../spec/root-kind.ts";
import type { PlanInput } from "./input.ts";
import { host, keeper } from "./make-step.ts";
import { withContext } from "./selinux.ts";
import type { LaunchPlan, Step } from "./step.ts";

/** Of a file system in memory that holds all that a machine changes: as systemd-nspawn has it. */
export const MEMORY_LIMITS = ["size=25%", "nr_inodes=1m"];

/** Volatile=yes: all that is there of the tree is its /usr. */
export function openUsr({ spec }: PlanInput): Step[] {
  return [
    host(
      "clone-tree",
      {
        fd: "usr",
        path: spec.root.value,
        inside: pathInTree(spec, "/usr"),
        recursive: true,
        flags: ["nodev", "ro"],
        propagation: "private",
      },
      spec.volatile.source,
    ),
  ];
}

/** Whether a running machine has an /etc that is not its tree's. */
export function hasOwnEtc({ steps }: LaunchPlan): boolean {
  return steps.some(({ kind, args }) => kind === "make-file-system" && args.fd === "memory");
}

export function makeMemory(input: PlanInput): Step[] {
  const { spec } = input;
  if (rootKind(spec) !== "memory") return [];
  const options = withContext(input, ["mode=755", ...MEMORY_LIMITS]);
  return [
    keeper(
      "make-file-system",
      { fd: "memory", type: "tmpfs", options, flags: ["nodev", "strictatime"] },
      spec.volatile.source,
    ),
  ];
}

/** What an init expects to find, or to be able to fill: the rest it makes itself (tmpfiles.d(5), sysusers.d(5)). */
const DIRECTORIES: readonly (readonly [string, number])[] = [
  ["/etc", 0o755],
  ["/root", 0o700],
  ["/var", 0o755],
];

export function fillMemory({ spec, machine }: PlanInput): Step[] {
  if (rootKind(spec) !== "memory") return [];
  const { source } = spec.volatile;
  return [
    keeper("attach", { fd: "usr", target: "/usr", create: "directory", api: true, remove: false }, source),
    ...Object.entries(machine.usr?.links ?? {}).map(([name, target]) =>
      keeper("make-symlink", { path: `/${name}`, target }, source),
    ),
    ...DIRECTORIES.map(([path, mode]) => keeper("make-directory", { path, mode }, source)),
  ];
}

/** Volatile=state: a /var that starts empty. */
export function mountState(input: PlanInput): Step[] {
  const { spec } = input;
  if (spec.volatile.value !== "state") return [];
  return [
    keeper(
      "mount-tmpfs",
      {
        target: "/var",
        mode: 0o755,
        flags: ["nodev", "strictatime"],
        options: withContext(input, MEMORY_LIMITS),
        remove: false,
      },
      spec.volatile.source,
    ),
  ];
}
