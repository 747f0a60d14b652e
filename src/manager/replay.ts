import { BerthError, UsageError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import type { Prepared } from "../machine/prepare.ts";
import { cutPlan, findStep } from "../plan/cut.ts";
import { describe } from "../plan/describe.ts";
import { candidatesFor, LOGIN_SHELLS } from "../plan/execute.ts";
import type { LaunchPlan, StepOf } from "../plan/step.ts";
import type { MachineSpec } from "../spec/machine-spec.ts";
import { byDefault } from "../spec/source.ts";
import { Launcher } from "./launcher.ts";
import { StateFiles } from "./state-file.ts";

export interface ReplayOptions {
  /** The step to stop before, as `berth plan NAME` numbers it; undefined: the one that failed last. */
  readonly until: number | undefined;
  /** Instead of a shell. */
  readonly command: readonly string[];
}

/** A machine as its start has built it up to a step, with a shell in it in place of its init. */
export interface Replay {
  readonly prepared: Prepared;
  /** For the user, one line each. */
  readonly says: readonly string[];
}

/** @throws BerthError where no step has failed that there still is, and where no shell can be without it */
export async function prepareReplay(name: string, { until, command }: ReplayOptions, paths: Paths): Promise<Replay> {
  const prepared = new Launcher(paths).prepare(name);
  // The numbers of `berth plan`, and of a start by the daemon, need not be those of the plan that is run here.
  const { plan } = await prepared.plan({ foreground: true, stdio: "console", term: null });
  const at = until ?? failedStep(name, plan, paths);
  const step = plan.steps[at];
  if (step === undefined)
    throw new UsageError(
      `--until=${at} is no step of the plan`,
      `it has the steps 0 to ${plan.steps.length - 1}: berth plan ${name}`,
    );
  const what = `step #${at} ${step.phase} (${describe(step)})`;
  const wanted = { phase: step.phase, describe: describe(step) };
  const cut = (whole: LaunchPlan): ReturnType<typeof cutPlan> => {
    const place = findStep(whole, wanted);
    return place === undefined ? null : cutPlan(whole, place, programOf(whole, command));
  };
  const first = cut(plan);
  if (first === null)
    throw new BerthError(`nobody can be in machine ${name} without ${what}, or whatever else belongs to it`, {
      hint: `berth why ${name} says what failed; --until=N stops before another step, as berth plan ${name} numbers them`,
    });
  const spec = asCommand(prepared.spec);
  return {
    prepared: {
      ...prepared,
      spec,
      plan: async (request) => {
        const whole = await prepared.plan(request);
        return { plan: cut(whole.plan)?.plan ?? whole.plan, input: { ...whole.input, spec } };
      },
    },
    says: [`replaying the start of ${name} up to ${what}`, leftOut(first.left.length)],
  };
}

function leftOut(count: number): string {
  const program = "what runs now is in place of its init, and when it ends all is undone";
  if (count === 0) return `all steps before are done: ${program}`;
  return `${count === 1 ? "this step is" : `this step and ${count - 1} after it are`} left out: ${program}`;
}

function failedStep(name: string, plan: LaunchPlan, paths: Paths): number {
  const failed = new StateFiles(paths).read(name)?.failure?.step;
  if (failed === undefined)
    throw new BerthError(`no start of machine ${name} by berthd is known to have failed at a step`, {
      hint: `--until=N stops before a step, as berth plan ${name} numbers them`,
    });
  const at = findStep(plan, failed);
  if (at !== undefined) return at;
  throw new BerthError(
    `the step that failed, #${failed.index} ${failed.phase} (${failed.describe}), is none of its start any more: its settings, tree or host have changed`,
    { hint: `--until=N stops before another step, as berth plan ${name} numbers them` },
  );
}

function programOf(plan: LaunchPlan, command: readonly string[]): StepOf<"execute">["args"] {
  const own = plan.steps.find((step) => step.kind === "execute");
  const [program] = command;
  return {
    candidates: program === undefined ? [...LOGIN_SHELLS] : candidatesFor(program),
    argv: [...command],
    environment: own?.kind === "execute" ? [...own.args.environment] : [],
    directory: "/",
  };
}

/** It has no init that says when it is ready, is asked to power off, or whose boot is kept. */
function asCommand(spec: MachineSpec): MachineSpec {
  return {
    ...spec,
    boot: byDefault(false),
    processTwo: byDefault(false),
    notifyReady: byDefault(false),
    killSignal: byDefault(undefined),
  };
}
