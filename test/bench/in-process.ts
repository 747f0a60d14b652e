/** Launches inside this process, as a daemon does them: with a stage that was spawned ahead, and the code hot. */
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { OptionAssignment } from "../../src/config/setting.ts";
import { removeSharedCgroup } from "../../src/exec/cgroup.ts";
import { compile } from "../../src/exec/compile.ts";
import { numberFds } from "../../src/exec/host-fds.ts";
import { Launch } from "../../src/exec/launch.ts";
import { filterFor } from "../../src/exec/seccomp-filter.ts";
import { INSTALLATION, stagePath } from "../../src/host/installation.ts";
import { findPaths } from "../../src/host/paths.ts";
import { prepare } from "../../src/machine/prepare.ts";
import { stepOf } from "../../src/plan/join.ts";
import type { LaunchPlan } from "../../src/plan/step.ts";
import { StageProcess } from "../../src/stage/stage-process.ts";

export interface LaunchSample extends Readonly<Record<string, number>> {
  readonly planned: number;
  readonly "to exec": number;
  readonly "to exit": number;
  readonly released: number;
}

export interface InProcess {
  plan(): Promise<LaunchPlan>;
  /** Facts of the tree, plan and launch, from the call on. Milliseconds. */
  launch(): Promise<LaunchSample>;
  /** How many system calls and the like the stage is given to do. */
  operations(): Promise<number>;
}

/** A daemon has a stage waiting, 12 kB, and spawns the next one when a machine has been started. */
let spare: StageProcess | undefined;

/** Settings and facts of the host are read once, as a daemon has them. */
export function inProcess(
  work: string,
  tree: string,
  command: readonly string[],
  options: readonly OptionAssignment[] = [],
): InProcess {
  const paths = findPaths(process.env, INSTALLATION, work);
  const request = { name: "bench", directory: tree, options, command, boot: false, console: undefined };
  const prepared = prepare(request, paths, INSTALLATION);
  const { arch } = prepared.host;
  const stage = stagePath(arch);
  const plan = async (): Promise<LaunchPlan> =>
    (await prepared.plan({ foreground: false, stdio: "console", term: null })).plan;
  const launch = async (): Promise<LaunchSample> => {
    const begin = performance.now();
    const planNow = await plan();
    const planned = performance.now();
    const launch = new Launch(planNow, {
      stage,
      arch,
      loadFilter: (policy) => filterFor(policy, paths.cache),
      ...(spare === undefined ? {} : { spare }),
    });
    await launch.run();
    const executed = performance.now();
    await launch.exit();
    const exited = performance.now();
    await launch.keeperEnd();
    launch.release();
    spare = StageProcess.spawn(stage);
    spare.makeAhead(stepOf(planNow, "spawn-stage").args);
    const released = performance.now();
    return {
      planned: planned - begin,
      "to exec": executed - begin,
      "to exit": exited - begin,
      released: released - begin,
    };
  };
  const operations = async (): Promise<number> => {
    const { steps } = await plan();
    const fds = numberFds(steps.flatMap(({ args }) => ("fd" in args ? [args.fd] : [])));
    const { programs } = compile({ machine: "bench", steps }, arch, fds, Buffer.alloc(8));
    return programs.reduce((sum, { ops }) => sum + ops.length, 0);
  };
  return { plan, launch, operations };
}

export async function discardSpare(): Promise<void> {
  await spare?.discard();
}

/** The cgroup above those of machines is there already, as floor.c has it and a daemon would: something else is in it. */
export function keepCgroup({ steps }: LaunchPlan): void {
  for (const step of steps) {
    if (step.kind !== "make-cgroup") continue;
    const kept = join(dirname(step.args.path), `kept-${process.pid}`);
    mkdirSync(kept, { recursive: true });
    process.on("exit", () => removeSharedCgroup(kept));
  }
}
