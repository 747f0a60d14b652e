import type { UserFacts } from "./facts.ts";
import { host, init, keeper } from "./make-step.ts";
import type { LaunchPlan, Namespace, Step, StepOf, WindowSize } from "./step.ts";
import { idsOf } from "./user.ts";

/** A running machine, as a command that enters it needs to know it. */
export interface JoinTarget {
  readonly machine: string;
  readonly pid: number;
  readonly startTime: string;
  /** The leader's own cgroup: a leaf, whatever the machine's init has made of payload/. */
  readonly cgroup: string;
  /** The plan that the machine was started by: its limits, capabilities and filter hold for what joins it too. */
  readonly plan: LaunchPlan;
}

export interface JoinRequest {
  /** Empty: a login shell. */
  readonly argv: readonly string[];
  /** Paths to try for argv[0], the last one may not be missing. */
  readonly candidates: readonly string[];
  readonly environment: readonly string[];
  /** Where it cannot go there, it begins in /, unless that is required. */
  readonly directory: string;
  readonly directoryRequired?: boolean;
  /** Null: root. */
  readonly user: UserFacts | null;
  /** terminal: a new one of the machine's own; caller: the fds 0-2 of the command. */
  readonly stdio: "terminal" | "caller";
  /** Of the new terminal. */
  readonly size?: WindowSize;
}

/**
 * Runs one command in a running machine. The stage clones it into the machine's cgroup and all its namespaces at once: Node never
 * enters, and neither does a path of the host.
 */
export function buildJoin(target: JoinTarget, request: JoinRequest): LaunchPlan {
  const { plan } = target;
  const cloned = stepOf(plan, "clone-init");
  const score = stepOf(plan, "set-oom-score");
  const joined: Namespace[] = plan.steps.some(({ kind }) => kind === "join-network") ? ["net"] : [];
  const namespaces: Namespace[] = [...cloned.args.namespaces, ...joined, "mount", "cgroup", "ipc"];
  const inside = "the command is inside";
  const goOn = "go on";
  const opened = "the terminal is open";
  const terminal: Step[] =
    request.stdio === "caller"
      ? [init("stdio", { from: "caller" })]
      : [
          init("open-terminal", { size: request.size ?? null }),
          init("signal", { sync: 3, to: "host", says: opened, carries: ["terminal"] }),
          host("await", { sync: 3, from: "init", says: opened, carries: ["terminal"] }),
        ];
  return {
    machine: target.machine,
    steps: [
      host("spawn-stage", { namespaces: [], limits: [] }),
      host("hold-machine", { pid: target.pid, startTime: target.startTime, cgroup: target.cgroup }),
      // For the command to inherit: it is not waited for between its clone and its end.
      host("set-oom-score", { of: "stage", score: score.args.score }, score.source),
      stepOf(plan, "load-filter"),
      host("hand-over", { title: `berth-exec: ${target.machine}` }),
      keeper("begin-keeper", { foreground: true }),
      raiseLimits(plan),
      // For the command to inherit: inside, /proc is what root there has made of it.
      ...stepsOf(plan, "label-process").map(({ args, source }) => keeper("label-process", args, source)),
      keeper("clone-inside", { namespaces, cgroup: "cgroup" }),
      keeper("signal", { sync: 1, to: "host", says: inside, carries: ["leader"] }),
      host("await", { sync: 1, from: "keeper", says: inside, carries: ["leader"] }),
      keeper("signal", { sync: 2, to: "init", says: goOn, carries: [] }),
      init("become-root", { foreground: false }),
      init("start-session", {}),
      init("join-keyring", {}),
      ...terminal,
      ...stepsOf(plan, "set-personality"),
      ...stepsOf(plan, "set-affinity"),
      stepOf(plan, "set-limits"),
      stepOf(plan, "set-umask"),
      stepOf(plan, "drop-bounding-set"),
      ...becomeUser(target, request),
      init("change-directory", { path: request.directory, required: request.directoryRequired ?? false }),
      ...stepsOf(plan, "set-limit"),
      ...stepsOf(plan, "no-new-privileges"),
      // The host knows by then who it is: nobody could end or reap a command whose keeper was killed before it said so.
      init("await", { sync: 2, from: "keeper", says: goOn, carries: [] }),
      stepOf(plan, "load-seccomp"),
      stepOf(plan, "set-capabilities"),
      init("execute", {
        candidates: [...request.candidates],
        argv: [...request.argv],
        environment: [...request.environment],
        directory: null,
      }),
      host("await", { sync: 4, from: "init", says: "the command has been executed", carries: [] }),
    ],
  };
}

/**
 * The caller's hard limits may be lower than those of who started the machine, and inside nobody can raise them: so the
 * keeper has all that the command will set itself.
 */
function raiseLimits(plan: LaunchPlan): Step {
  const raised = stepOf(plan, "raise-limits");
  const names = raised.args.limits.map(({ name }) => name);
  const own = [...stepOf(plan, "set-limits").args.limits, ...stepsOf(plan, "set-limit").map(({ args }) => args)];
  const more = own.filter(({ name }) => !names.includes(name)).map(({ name, hard }) => ({ name, soft: hard, hard }));
  return { ...raised, args: { limits: [...raised.args.limits, ...more] } };
}

function becomeUser({ plan }: JoinTarget, { user, stdio }: JoinRequest): readonly Step[] {
  if (user === null) return [];
  const keep = stepOf(plan, "set-capabilities").args.mask;
  return [init("become-user", { ...idsOf(user), keep, terminal: stdio === "terminal", foreground: false })];
}

/** Those that the settings asked for; maybe none. */
export function stepsOf<K extends Step["kind"]>(plan: LaunchPlan, kind: K): readonly StepOf<K>[] {
  return plan.steps.filter((each): each is StepOf<K> => each.kind === kind);
}

/** @throws Error when a plan that was read has no such step */
export function stepOf<K extends Step["kind"]>(plan: LaunchPlan, kind: K): StepOf<K> {
  const [step] = stepsOf(plan, kind);
  if (step === undefined) throw new Error(`the plan of ${plan.machine} has no step ${kind}`);
  return step;
}
