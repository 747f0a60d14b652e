import { type JoinTarget, stepOf, stepsOf } from "./join.ts";
import { host, init, keeper } from "./make-step.ts";
import type { IdMapping, LaunchPlan, MountFlag, NodeType, Step } from "./step.ts";

export interface BindRequest {
  /** A path of the host. */
  readonly source: string;
  readonly type: NodeType;
  /** Absolute, of the machine. */
  readonly target: string;
  readonly readOnly: boolean;
  /** Make the target, and the directories to it, where they are missing. */
  readonly create: boolean;
  /** Null: owners are shown as they are. */
  readonly mapping: IdMapping | null;
  /** The list of what has been bound. */
  readonly list: string;
}

const OPENED = "target";
const LOCKED = "locked";

/**
 * Binds something of the host into a running machine, as Bind= does at its start: one process clones itself into the
 * machine's cgroup and enters its user and mount namespaces, with the rights of its root there, and ends when it has
 * attached the mount. What is mounted is a slave of the host's: nothing that is mounted inside comes back.
 */
export function buildBind(target: JoinTarget, request: BindRequest): LaunchPlan {
  const { source, type, readOnly, mapping } = request;
  const flags: MountFlag[] = readOnly ? ["ro"] : [];
  const opened = { path: source, inside: null, recursive: true, flags, propagation: "slave" } as const;
  const users = hasUsers(target);
  const note = (fd: string): Step =>
    host("note-mount", { fd, file: request.list, boot: target.startTime, target: request.target, source });
  const parked = [keeper("unshare-mounts", {}), keeper("park-mount", { fd: "bind", type })];
  return {
    machine: target.machine,
    steps: [
      ...holdingSteps(target),
      host("clone-tree", { fd: "bind", ...opened }),
      ...(mapping === null ? [] : [host("map-owners", { fd: "bind", recursive: true, mapping })]),
      ...(users ? [] : [note("bind")]),
      ...handOver(target),
      ...(users ? parked : []),
      keeper("clone-init", { namespaces: [], ahead: [], cgroup: "cgroup" }),
      ...(users ? [init("enter-users", {}), ...lockedSteps(type, note)] : []),
      ...enteringSteps(),
      init("attach-inside", {
        fd: users ? LOCKED : "bind",
        target: request.target,
        create: request.create ? type : null,
      }),
      ending(),
    ],
  };
}

/** The host notes the mount before anybody inside can see it. */
function lockedSteps(type: NodeType, note: (fd: string) => Step): Step[] {
  const locked = "the mount is locked";
  const noted = "it is noted";
  return [
    init("lock-mount", { fd: LOCKED, type }),
    init("signal", { sync: 1, to: "host", says: locked, carries: [LOCKED] }),
    host("await", { sync: 1, from: "init", says: locked, carries: [LOCKED] }),
    note(LOCKED),
    host("signal", { sync: 2, to: "init", says: noted, carries: [] }),
    init("await", { sync: 2, from: "host", says: noted, carries: [] }),
  ];
}

/** Takes away one of the mounts with these ids, if that is what is mounted on `path`. */
export function buildUnbind(target: JoinTarget, path: string, ids: readonly string[]): LaunchPlan {
  const opened = "it is open";
  const allowed = "it may go";
  return {
    machine: target.machine,
    steps: [
      ...holdingSteps(target),
      ...handOver(target),
      ...entering(target),
      init("open-inside", { fd: OPENED, path }),
      init("signal", { sync: 1, to: "host", says: opened, carries: [OPENED] }),
      host("await", { sync: 1, from: "init", says: opened, carries: [OPENED] }),
      host("check-mount", { fd: OPENED, target: path, ids: [...ids] }),
      host("signal", { sync: 2, to: "init", says: allowed, carries: [] }),
      init("await", { sync: 2, from: "host", says: allowed, carries: [] }),
      init("detach", { fd: OPENED }),
      ending(),
    ],
  };
}

/** Opens a terminal of a running machine's own, for somebody inside to open its other side. */
export function buildOpenTerminal(target: JoinTarget): LaunchPlan {
  const opened = "the terminal is open";
  return {
    machine: target.machine,
    steps: [
      ...holdingSteps(target),
      ...handOver(target),
      ...entering(target),
      init("open-terminal", { size: null, alone: true }),
      init("signal", { sync: 1, to: "host", says: opened, carries: ["terminal"] }),
      host("await", { sync: 1, from: "init", says: opened, carries: ["terminal"] }),
      ending(),
    ],
  };
}

function holdingSteps({ pid, startTime, cgroup }: JoinTarget): Step[] {
  return [
    host("spawn-stage", { namespaces: [], limits: [] }),
    host("hold-machine", { pid, startTime, cgroup }),
    host("open-mounts", { fd: "mounts", pid }),
  ];
}

function handOver({ machine }: JoinTarget): Step[] {
  return [host("hand-over", { title: `berth-join: ${machine}` }), keeper("begin-keeper", { foreground: true })];
}

/** One process with the rights of the machine's root, in its mounts. */
function entering(target: JoinTarget): Step[] {
  return [
    keeper("clone-init", { namespaces: [], ahead: [], cgroup: "cgroup" }),
    ...(hasUsers(target) ? [init("enter-users", {})] : []),
    ...enteringSteps(),
  ];
}

function enteringSteps(): Step[] {
  return [init("enter-mounts", { fd: "mounts" }), init("become-root", { foreground: false })];
}

/** Init has no more to do, and ends: the host learns of it as it learns of an execution. */
function ending(): Step {
  return host("await", { sync: 3, from: "init", says: "it has left the machine", carries: [] });
}

/** Whether the machine's root is another user than the host's. */
function hasUsers({ plan }: JoinTarget): boolean {
  return stepOf(plan, "clone-init").args.namespaces.includes("user");
}

/** The host's ids that are the machine's own; null: they are the host's. */
export function rangeOf(plan: LaunchPlan): { readonly base: number; readonly size: number } | null {
  return stepsOf(plan, "write-id-maps")[0]?.args ?? null;
}
