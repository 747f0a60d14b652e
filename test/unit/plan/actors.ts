/**
 * A launch plan as processes that send each other messages: host, keeper, init and apivfs each walk over their own
 * steps, and only sync points, clones and ends order them. A fifth one, farewell, is what the keeper was cloned from: it
 * sends who the keeper is, at any time after that. Every interleaving is tried, so what holds here holds
 * however the kernel schedules them.
 *
 *   deadlocks(plan)      // [] = in every interleaving all come to their end and no message is left or mistaken
 *   namelessFds(plan)    // [] = nobody uses an fd before it has come to them
 *   unpairedSyncs(plan)  // [] = every sync number has one sender and one receiver who agree on it
 */
import type { LaunchPlan, Phase, Step, StepOf } from "../../../src/plan/step.ts";

const ACTORS = ["host", "keeper", "init", "apivfs", "farewell"] as const;
type Actor = (typeof ACTORS)[number];

/** What an actor does that concerns another one. */
type Action =
  | { readonly do: "start" | "wait-end"; readonly actor: Actor }
  | { readonly do: "send" | "receive"; readonly socket: Socket; readonly sync: number }
  /** End of file on the status socket: everybody who holds its other end has gone, or has executed something else. */
  | { readonly do: "wait-all-ends" };

/**
 * One direction of a socket pair: who reads from it sees the messages in the order they were sent. Only the host, to
 * whom several speak, puts away what comes before its turn.
 */
type Socket = "status-to-host" | "status-from-host" | "to-keeper" | "to-init";

function actionsOf(plan: LaunchPlan, actor: Actor): Action[] {
  const actions = plan.steps.filter((step) => actorOf(step) === actor).flatMap(actionsOfStep);
  // The keeper's part is over when init's end of their socket closes: stage.c, compile.ts awaitExecution.
  return actor === "keeper" ? [...actions, { do: "wait-end", actor: "init" }] : actions;
}

function actorOf(step: Step): Actor {
  return step.kind === "signal" && step.args.carries.includes("keeper") ? "farewell" : step.phase;
}

function actionsOfStep(step: Step): Action[] {
  switch (step.kind) {
    case "hand-over":
      return [{ do: "start", actor: "keeper" }];
    case "move-keeper":
      return [{ do: "start", actor: "farewell" }];
    case "clone-init":
    case "clone-inside":
      return [{ do: "start", actor: "init" }];
    case "make-api-file-systems":
      return [
        { do: "start", actor: "apivfs" },
        { do: "wait-end", actor: "apivfs" },
      ];
    case "signal":
      return [{ do: "send", socket: socketBetween(step.phase, step.args.to), sync: step.args.sync }];
    case "await":
      if (isExecution(step)) return [{ do: "wait-all-ends" }];
      return [{ do: "receive", socket: socketBetween(step.args.from, step.phase), sync: step.args.sync }];
    default:
      return [];
  }
}

function isExecution({ phase, args }: StepOf<"await">): boolean {
  return phase === "host" && args.from === "init" && args.carries.length === 0;
}

function socketBetween(from: Phase, to: Phase): Socket {
  if (to === "host") return "status-to-host";
  if (from === "host") return "status-from-host";
  return to === "keeper" ? "to-keeper" : "to-init";
}

interface State {
  /** Index of each actor's next action; -1: not started. */
  readonly at: Readonly<Record<Actor, number>>;
  readonly sent: Readonly<Record<Socket, readonly number[]>>;
}

/** Complaints about states the plan can come to. */
export function deadlocks(plan: LaunchPlan): string[] {
  const actions = Object.fromEntries(ACTORS.map((actor) => [actor, actionsOf(plan, actor)])) as Record<Actor, Action[]>;
  const ended = ({ at }: State, actor: Actor): boolean => at[actor] >= 0 && at[actor] === actions[actor].length;
  const found = new Set<string>();
  const seen = new Set<string>();
  const open: State[] = [
    {
      at: { host: 0, keeper: -1, init: -1, apivfs: -1, farewell: -1 },
      sent: { "status-to-host": [], "status-from-host": [], "to-keeper": [], "to-init": [] },
    },
  ];
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    const key = JSON.stringify(state);
    if (seen.has(key)) continue;
    seen.add(key);
    const next = ACTORS.flatMap((actor) => moves(state, actor));
    open.push(...next);
    if (next.length === 0) endState(state);
  }
  return [...found];

  function moves(state: State, actor: Actor): State[] {
    const action = state.at[actor] < 0 ? undefined : actions[actor][state.at[actor]];
    if (action === undefined) return [];
    const at = { ...state.at, [actor]: state.at[actor] + 1 };
    switch (action.do) {
      case "start":
        return [{ ...state, at: { ...at, [action.actor]: 0 } }];
      case "wait-end":
        return ended(state, action.actor) ? [{ ...state, at }] : [];
      case "wait-all-ends":
        return (["keeper", "init"] as const).every((each) => ended(state, each)) ? [{ ...state, at }] : [];
      case "send":
        return [{ at, sent: { ...state.sent, [action.socket]: [...state.sent[action.socket], action.sync] } }];
      case "receive": {
        const sent = state.sent[action.socket];
        const index = action.socket === "status-to-host" ? sent.indexOf(action.sync) : sent.length === 0 ? -1 : 0;
        if (index < 0) return [];
        if (sent[index] !== action.sync) found.add(`${actor} waits for sync #${action.sync} and gets #${sent[index]}`);
        return [{ at, sent: { ...state.sent, [action.socket]: sent.toSpliced(index, 1) } }];
      }
    }
  }

  function endState(state: State): void {
    for (const actor of ACTORS) {
      if (actions[actor].length === 0 || ended(state, actor)) continue;
      const action = actions[actor][Math.max(0, state.at[actor])];
      found.add(
        state.at[actor] < 0 ? `${actor} is never started` : `${actor} waits for ever: ${JSON.stringify(action)}`,
      );
    }
    for (const [socket, left] of Object.entries(state.sent))
      if (left.length > 0) found.add(`nobody reads ${left.map((sync) => `#${sync}`).join(", ")} from ${socket}`);
  }
}

/** Every number: one `signal` and one `await`, of each other's phase, who say and carry the same. */
export function unpairedSyncs(plan: LaunchPlan): string[] {
  const ends = plan.steps.flatMap((step): SyncEnd[] => {
    if (step.kind === "signal") return [{ ...step.args, from: step.phase, sends: true }];
    if (step.kind === "await" && !isExecution(step)) return [{ ...step.args, to: step.phase, sends: false }];
    return [];
  });
  const numbers = [...new Set(ends.map(({ sync }) => sync))];
  return numbers.flatMap((sync) => {
    const [senders, receivers] = [true, false].map((sends) =>
      ends.filter((end) => end.sync === sync && end.sends === sends),
    );
    if (senders?.length !== 1 || receivers?.length !== 1)
      return [`sync #${sync} has ${senders?.length} senders and ${receivers?.length} receivers`];
    const [sent, received] = [senders, receivers].map(([end]) =>
      JSON.stringify([end?.from, end?.to, end?.says, end?.carries]),
    );
    return sent === received ? [] : [`sync #${sync}: sent as ${sent}, awaited as ${received}`];
  });
}

interface SyncEnd {
  readonly sync: number;
  readonly from: Phase;
  readonly to: Phase;
  readonly says: string;
  readonly carries: readonly string[];
  readonly sends: boolean;
}

/** fds that some step makes besides those whose step names them as `fd`. */
const MAKES: Partial<Record<Step["kind"], readonly string[]>> = {
  "make-record": ["record", "directory", "log"],
  "hold-machine": ["machine", "cgroup", "record"],
  "move-keeper": ["keeper", "payload"],
  "clone-init": ["leader"],
  "clone-inside": ["leader"],
  console: ["console"],
  "open-terminal": ["terminal"],
};
const MAKES_ITS_FD: readonly Step["kind"][] = [
  "clone-tree",
  "mount-part",
  "open-network",
  "make-layer",
  "make-credentials",
  "make-user-records",
  "notify-socket",
  "make-file-system",
  "make-overlay",
  "open-upper",
  "combine-layers",
  "open-mounts",
  "lock-mount",
  "open-inside",
];

function usesOf(step: Step): readonly string[] {
  switch (step.kind) {
    case "signal":
      return step.args.carries;
    case "attach":
    case "attach-root":
    case "join-network":
    case "park-mount":
    case "enter-mounts":
    case "attach-inside":
    case "note-mount":
    case "check-mount":
    case "detach":
      return [step.args.fd];
    case "map-owners":
      return step.args.mapping === null ? [step.args.fd, "user-namespace"] : [step.args.fd];
    case "write-id-maps":
      return ["user-namespace"];
    case "set-oom-score":
      return step.args.of === "init" ? ["leader"] : [];
    case "make-overlay":
      return [...step.args.lower, ...(step.args.upper === null ? [] : [step.args.upper])];
    case "combine-layers":
      return [...step.args.lower, ...(step.args.upper === null ? [] : [step.args.upper.fd])];
    case "notify-socket":
    case "rendezvous":
      return ["directory"];
    case "clone-init":
      return [step.args.cgroup, ...step.args.ahead.map((namespace) => `${namespace}-namespace`)];
    case "clone-inside":
      return ["machine", step.args.cgroup];
    case "enter-users":
    case "open-mounts":
      return ["machine"];
    default:
      return [];
  }
}

/**
 * Walks the steps in the plan's own order, which is one of the possible ones. What one knows reaches another by a clone
 * (all of it), by the end of apivfs (which shares its table of fds with init) and by what a sync point carries.
 */
export function namelessFds(plan: LaunchPlan): string[] {
  const known: Record<Phase, Set<string>> = {
    host: new Set(),
    keeper: new Set(),
    init: new Set(),
    apivfs: new Set(),
  };
  return plan.steps.flatMap((step, index) => {
    const mine = known[step.phase];
    if (step.kind === "hand-over") known.keeper = new Set(known.host);
    if (step.kind === "make-api-file-systems") {
      known.apivfs = new Set(known.init);
      known.init = new Set([...mine, ...madeBy(plan, "apivfs")]);
    }
    const missing = usesOf(step).filter((fd) => !mine.has(fd));
    for (const fd of [...madeByStep(step), ...(step.kind === "await" ? step.args.carries : [])]) mine.add(fd);
    if (step.kind === "clone-init" || step.kind === "clone-inside") known.init = new Set(mine);
    return missing.map((fd) => `#${index} ${step.phase} ${step.kind} uses ${fd}, which it has not got`);
  });
}

function madeBy(plan: LaunchPlan, phase: Phase): string[] {
  return plan.steps.filter((step) => step.phase === phase).flatMap(madeByStep);
}

function madeByStep(step: Step): readonly string[] {
  if (step.kind === "open-namespaces") return step.args.namespaces.map((namespace) => `${namespace}-namespace`);
  if (MAKES_ITS_FD.includes(step.kind) && "fd" in step.args) return [step.args.fd];
  return MAKES[step.kind] ?? [];
}
