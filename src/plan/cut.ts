import { describe } from "./describe.ts";
import type { LaunchPlan, Step, StepKind } from "./step.ts";

/**
 * Steps that a machine can be half-built without: what others need, what a program in it needs to have a terminal, and all
 * that confines it, is none of them.
 */
const DISPENSABLE: ReadonlySet<StepKind> = new Set<StepKind>([
  ...([
    "clone-tree",
    "lock-submounts",
    "map-owners",
    "make-layer",
    "open-upper",
    "make-journal",
    "link-journal",
  ] as const),
  ...(["make-credentials", "make-user-records", "notify-socket", "set-oom-score"] as const),
  ...(["mount-tmpfs", "make-directory", "make-node", "make-symlink", "set-read-only", "write-file", "attach"] as const),
  ...(["make-mount-point", "make-inaccessible", "cover", "copy-file", "replace-symlink", "delete-file"] as const),
  ...(["make-file-system", "make-overlay", "combine-layers"] as const),
  ...([
    "label-process",
    "loopback-up",
    "set-hostname",
    "join-keyring",
    "set-limits",
    "set-umask",
    "set-limit",
  ] as const),
  ...(["set-personality", "set-affinity", "stay-as-init", "change-directory", "become-user", "raise-ambient"] as const),
  ...(["mount-own-tmpfs", "execute"] as const),
]);

export interface Cut {
  readonly plan: LaunchPlan;
  /** Steps of the whole plan that are left out, by index. */
  readonly left: readonly number[];
}

/**
 * A plan up to a step, and from there on only what is needed for a program to be in what is built by then. Null: nothing can
 * be without that step.
 */
export function cutPlan(plan: LaunchPlan, at: number, program: Extract<Step, { kind: "execute" }>["args"]): Cut | null {
  const { steps } = plan;
  const kept = new Set(steps.flatMap((step, index) => (index < at || !isDispensable(step) ? [index] : [])));
  keepWhatIsUsed(steps, kept);
  dropCoversOfNothing(steps, kept, at);
  if (kept.has(at) && steps[at]?.kind !== "execute") return null;
  const gone = new Set(steps.flatMap((step, index) => (kept.has(index) ? [] : fdOf(step))));
  const all = steps.flatMap((step, index): Step[] => {
    if (step.kind === "execute") return [{ ...step, args: program }];
    return kept.has(index) ? [withoutFds(step, gone)] : [];
  });
  const left = steps.flatMap(({ kind }, index) => (kept.has(index) || kind === "execute" ? [] : [index]));
  return { plan: { ...plan, steps: all }, left };
}

/** The step that failed before, as it was described then, in a plan of now. */
export function findStep(
  plan: LaunchPlan,
  failed: { readonly phase: string; readonly describe: string },
): number | undefined {
  const at = plan.steps.findIndex((step) => step.phase === failed.phase && describe(step) === failed.describe);
  return at < 0 ? undefined : at;
}

/** The console is a terminal of a devpts on /dev. */
function isDispensable(step: Step): boolean {
  if (!DISPENSABLE.has(step.kind)) return false;
  if (step.kind === "mount-tmpfs") return step.args.target !== "/dev";
  if (step.kind === "attach") return step.args.target !== "/dev/pts";
  return true;
}

/** What makes the fds that a step works with is needed with it, and what that needs in its turn. */
function keepWhatIsUsed(steps: readonly Step[], kept: Set<number>): void {
  for (let grown = true; grown; ) {
    const used = new Set(steps.flatMap((step, index) => (kept.has(index) ? usesOf(step) : [])));
    grown = false;
    steps.forEach((step, index) => {
      // Also what is done to it afterwards: a root without its owners is another one.
      if (kept.has(index) || !fdOf(step).some((fd) => used.has(fd)) || step.kind === "attach") return;
      kept.add(index);
      grown = true;
    });
  }
}

/** /proc and /sys have parts that act on the host: these are covered where they are there, and only there. */
function dropCoversOfNothing(steps: readonly Step[], kept: Set<number>, at: number): void {
  const attached = steps.flatMap((step, index) =>
    kept.has(index) && step.kind === "attach" && step.args.api ? [step.args.target] : [],
  );
  steps.forEach((step, index) => {
    if (index < at || (step.kind !== "mask" && step.kind !== "lock-read-only")) return;
    const { path } = step.args;
    if (!attached.some((target) => path === target || path.startsWith(`${target}/`))) kept.delete(index);
  });
}

function fdOf({ args }: Step): readonly string[] {
  return "fd" in args && typeof args.fd === "string" ? [args.fd] : [];
}

/** Every text in it that may be the name of an fd; what a sync point carries is no use of it. */
function usesOf({ args }: Step): readonly string[] {
  return Object.entries(args as Readonly<Record<string, unknown>>).flatMap(([key, value]) =>
    key === "carries" || key === "namespaces" ? [] : textsIn(value),
  );
}

function textsIn(value: unknown): readonly string[] {
  if (typeof value === "string") return [value];
  if (Array.isArray(value)) return value.flatMap(textsIn);
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(textsIn) : [];
}

function withoutFds(step: Step, gone: ReadonlySet<string>): Step {
  if (step.kind !== "signal" && step.kind !== "await") return step;
  const carries = step.args.carries.filter((fd) => !gone.has(fd));
  return { ...step, args: { ...step.args, carries } } as Step;
}
