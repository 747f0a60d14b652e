import { existsSync } from "node:fs";
import { BerthError, EXIT_FAILED } from "../errors.ts";
import { AlikePrograms } from "../exec/alike-programs.ts";
import { Launch, LaunchError } from "../exec/launch.ts";
import { RangeTaken } from "../exec/range-claim.ts";
import { filterFor } from "../exec/seccomp-filter.ts";
import { INSTALLATION, stagePath } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { readHostFacts } from "../host/read-facts.ts";
import { isDisk, treeOf } from "../host/tree-place.ts";
import { archiveBoot } from "../machine/history.ts";
import { LiveRecord, type RecordListener } from "../machine/live-record.ts";
import { type Prepared, prepare } from "../machine/prepare.ts";
import { sweepMachine } from "../machine/sweep.ts";
import { throwAwayImage } from "../machine/throw-away.ts";
import type { HostFacts } from "../plan/facts.ts";
import { initName } from "../plan/init-requests.ts";
import type { PlanInput } from "../plan/input.ts";
import { stepOf } from "../plan/join.ts";
import { showProblem } from "../spec/problem.ts";
import { showSource } from "../spec/source.ts";
import type { StageProcess } from "../stage/stage-process.ts";
import { monotonic } from "../sys/clock.ts";
import { ARCH } from "../sys/libc.ts";
import { ManagedBoot } from "./managed-boot.ts";
import { OneATurn } from "./one-a-turn.ts";
import { DEFAULT_POLICY, type MachinePolicy, policyOf } from "./policy.ts";
import { SpareStages } from "./spare-stages.ts";
import type { Surroundings } from "./surroundings.ts";
import { Turns } from "./turns.ts";

export interface LaunchCaller extends RecordListener {
  /** The launch, to be aborted should that be wanted; undefined when it is over. */
  readonly onLaunch: (launch: Launch | undefined) => void;
}

/** A launch of a machine, and what it was made from. */
interface PlannedLaunch {
  readonly launch: Launch;
  readonly planned: Prepared;
  readonly input: PlanInput;
}

/** Times that a range of ids is picked. */
const PICKS = 5;

/** Two machines that never ran may be led to one range by their names, and both have found it free. */
function isPickTaken(error: unknown, { planned }: PlannedLaunch): boolean {
  const isTaken = error instanceof LaunchError && error.cause instanceof RangeTaken;
  return isTaken && planned.spec.privateUsers.value.mode === "pick";
}

/** What makes a throw-away copy of a machine. */
const EPHEMERAL = { section: "Exec", key: "Ephemeral", value: "yes", option: "--ephemeral" };

/** Launches: while some wait for their stages, and new ones for the disk, another works. How long others wait hardly depends on it: see `turn`. */
const AT_A_TIME = 16;
/** How long pieces of launches go on before others have their turn, ms, and the last of them. */
const PIECES_MS = 3;
/** How long facts about the host are good for, ms: they change by its administrator's doing. */
const HOST_MS = 500;

/** Launches machines for the daemon, as their settings say at that time. A stage is always there, spawned ahead. */
export class Launcher {
  readonly #paths: Paths;
  readonly #stages = new SpareStages(stagePath(ARCH));
  /** For what makes no namespaces. */
  readonly commandStages = new SpareStages(stagePath(ARCH));
  readonly #turns = new Turns(AT_A_TIME);
  readonly #pieces = new OneATurn(PIECES_MS);
  readonly #alike = new AlikePrograms();
  #closed = false;
  #host: { readonly facts: HostFacts; readonly read: number } | undefined;

  constructor(paths: Paths) {
    this.#paths = paths;
  }

  /** For one piece of a launch or of what comes after an end: between any two of them everybody else is seen to. */
  turn(): Promise<void> {
    return this.#pieces.turn();
  }

  /** @throws BerthError with all problems at once */
  prepare(name: string): Prepared {
    const image = throwAwayImage(name, this.#paths);
    const copied = image === null ? {} : { settingsOf: image, ...rootOf(treeOf(this.#paths.machines, image)) };
    const request = { name, directory: undefined, command: [], boot: true, console: undefined, ...copied };
    return prepare({ ...request, options: image === null ? [] : [EPHEMERAL] }, this.#paths, INSTALLATION, () =>
      this.#hostFacts(),
    );
  }

  /** For some starts in a row. */
  #hostFacts(): HostFacts {
    const now = monotonic();
    if (this.#host === undefined || now - this.#host.read > HOST_MS) this.#host = { facts: readHostFacts(), read: now };
    return this.#host.facts;
  }

  /**
   * Boots a machine: resolves when its init runs. `say` is told what is wrong with its settings and what is weaker than the default.
   * @throws BerthError when nothing is left of it
   */
  async launch(name: string, rebooting: boolean, caller: LaunchCaller): Promise<ManagedBoot> {
    try {
      return await this.#turns.take(() => this.#launch(name, rebooting, caller));
    } finally {
      if (this.#turns.taken === 0) this.#alike.forget();
    }
  }

  async #launch(name: string, rebooting: boolean, caller: LaunchCaller): Promise<ManagedBoot> {
    // What reboots or is to be started again while this daemon ends is the next one's, which finds that in its state.
    if (this.#closed) return new Promise<never>(() => undefined);
    const { launch, planned, input } = await this.#run(name, rebooting, caller);
    this.#stages.refill();
    await this.turn();
    // Of the inits only systemd says by itself when it is ready; of others it shows (init-boot.ts), or it is not known.
    const saysReady = planned.spec.notifyReady.value || initName(input) === "systemd";
    const policy = policyOf(planned.spec);
    const record = LiveRecord.ofLaunch(planned, input, launch, { managed: true, saysReady, policy }, caller);
    launch.forget();
    return new ManagedBoot(launch, record, saysReady);
  }

  /** Planned and run; again, where others have picked the same range of ids at the same time, and have it by now. */
  async #run(name: string, rebooting: boolean, caller: LaunchCaller): Promise<PlannedLaunch> {
    for (let tries = 1; ; tries++) {
      const [asked, stage, again] = [monotonic(), this.#stages.take(), tries > 1];
      await this.turn();
      const planned = await this.#plan(name, rebooting, caller, { stage, asked, again }).catch((error) => {
        this.#stages.giveBack(stage);
        throw error;
      });
      caller.onLaunch(planned.launch);
      try {
        await this.turn();
        await planned.launch.run();
        return planned;
      } catch (error) {
        if (tries < PICKS && isPickTaken(error, planned)) continue;
        // 126 and 127 are about a command that somebody runs.
        if (!(error instanceof BerthError) || error.exitStatus === EXIT_FAILED) throw error;
        const { message, hint, kind } = error;
        throw new BerthError(message, { hint, kind, cause: error });
      } finally {
        caller.onLaunch(undefined);
      }
    }
  }

  /** `again`: what there is to say was said. */
  async #plan(
    name: string,
    rebooting: boolean,
    { say }: LaunchCaller,
    { stage, asked, again }: { readonly stage: Promise<StageProcess>; readonly asked: number; readonly again: boolean },
  ): Promise<PlannedLaunch> {
    const planned = this.prepare(name);
    const weaker = planned.weaknesses.map(
      ({ what, source }) => `weaker than the default: ${what} [${showSource(source)}]`,
    );
    if (!again) for (const line of [...planned.warnings.map(showProblem), ...weaker]) say(line);
    const { plan, input } = await planned.plan({ foreground: false, stdio: "console", term: null, reboot: rebooting });
    // Of one that somebody else ran, and who was killed; or what could not be cleaned up when it was to be.
    if (existsSync(input.places.record))
      sweepMachine(name, this.#paths, { rebooting, onRelease: (record) => archiveBoot(record, name, this.#paths) });
    this.#stages.expect(stepOf(plan, "spawn-stage").args);
    const launch = new Launch(plan, {
      stage: stagePath(ARCH),
      arch: ARCH,
      loadFilter: (policy) => filterFor(policy, this.#paths.cache),
      spare: stage,
      turn: () => this.turn(),
      among: () => this.#turns.taken > 1,
      alike: this.#alike,
      say,
      asked,
      onRelease: (directory) => archiveBoot(directory, name, this.#paths),
    });
    return { launch, planned, input };
  }

  /** As its settings say now. Where they can't be read, the defaults. */
  policyOf(name: string, log: Surroundings["log"]): MachinePolicy {
    try {
      return policyOf(this.prepare(name).spec);
    } catch (error) {
      log("warn", name, `its settings can't be read, [Machine] is as by default: ${(error as Error).message}`);
      return DEFAULT_POLICY;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([this.#stages.close(), this.commandStages.close()]);
  }
}

function rootOf(tree: string): { readonly directory: string } | { readonly image: string } {
  return isDisk(tree) ? { image: tree } : { directory: tree };
}
