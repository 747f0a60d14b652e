import { closeSync, constants, openSync, writeSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { type BerthError, errorCode } from "../errors.ts";
import type { SeccompPolicy } from "../plan/seccomp-policy.ts";
import type { IdMapping, LaunchPlan, Step, StepOf } from "../plan/step.ts";
import { emptyImage } from "../stage/image-file.ts";
import { isHeld, WHOLE } from "../stage/stage-abi.ts";
import { StageProcess } from "../stage/stage-process.ts";
import { monotonic } from "../sys/clock.ts";
import { SysError } from "../sys/errno.ts";
import { type ExitStatus, pidfdSendSignal } from "../sys/processes.ts";
import { type CompiledPlan, compile } from "./compile.ts";
import { FdTable } from "./fd-table.ts";
import { type HostFds, numberFds } from "./host-fds.ts";
import { HOST, type Undo } from "./host-steps.ts";
import { mappingNamespace } from "./id-mapping.ts";
import { addUndoFailure, asBerthError, asSysError, initDied, LaunchError } from "./launch-error.ts";
import type { LaunchOptions } from "./launch-options.ts";
import { removeRecord } from "./leftovers.ts";
import type { RunningBoot } from "./running.ts";
import { StageSession } from "./stage-session.ts";

export { LaunchError } from "./launch-error.ts";
export type { LaunchOptions } from "./launch-options.ts";

/** How long a launch works before others have their turn, ms. */
const SLICE_MS = 2;

/** fds the host itself goes on using when the machine runs; the others are closed then. */
const HELD = new Set(["leader", "keeper", "stage", "console", "terminal", "notify-socket", "record", "name-lock"]);
const isUsed = (name: string): boolean => HELD.has(name) || isHeld(name);

/** How long a launch took: ms. What of it the stage did is in the time of the steps that wait for it. */
export interface LaunchTrace {
  /** Before it began, to read settings and facts and to plan. */
  readonly prepared: number;
  /** When each step was over, since it began; null: it is not the host's. */
  readonly ended: readonly (number | null)[];
  readonly executed: number;
}

/** To a microsecond. */
function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** One start of one machine, from the first host step to its release; what actions in host-steps.ts work on. */
export class Launch implements RunningBoot {
  readonly fds = new FdTable();
  #plan: LaunchPlan;
  #texts: readonly string[] | undefined;
  readonly #options: LaunchOptions;
  readonly #paths = new Map<string, string>();
  readonly #undos: Undo[] = [];
  #spare: LaunchOptions["spare"];
  #session: StageSession | undefined;
  #state: "new" | "launching" | "over" = "new";
  #aborting: AbortController | undefined;
  #reason: BerthError | undefined;
  filter: Buffer = Buffer.alloc(0);
  /** ms since the epoch: when the launch began and when init was executed. */
  readonly began = Date.now();
  executed = 0;
  /** The latter on CLOCK_MONOTONIC, ms. */
  executedMonotonic = 0;
  readonly #beganMonotonic = monotonic();
  #ended: (number | null)[] = [];
  /** Since it had its turn: when it went on, and whether it has waited. */
  #workedFrom = this.#beganMonotonic;
  #waited = false;

  constructor(plan: LaunchPlan, options: LaunchOptions) {
    this.#plan = plan;
    this.#options = options;
    this.#spare = options.spare;
    for (const [name, fd] of options.fds ?? []) this.fds.name(name, fd);
    for (const { kind, args } of plan.steps) {
      if (kind === "clone-tree") this.#paths.set(args.fd, args.path);
      if (kind === "mount-part") this.#paths.set(args.fd, args.image);
    }
  }

  get plan(): LaunchPlan {
    return this.#plan;
  }

  /** Its steps as JSON. */
  get texts(): readonly string[] {
    this.#texts ??= this.#plan.steps.map((step) => JSON.stringify(step));
    return this.#texts;
  }

  /** What took how long, when it is over. */
  get trace(): LaunchTrace {
    const began = this.#beganMonotonic;
    const { asked = began } = this.#options;
    return { prepared: round(began - asked), ended: this.#ended, executed: round(this.executedMonotonic - began) };
  }

  /** Lets go of all that was for the launch alone, when the machine runs: 150 kB, which a daemon would have of each. */
  forget(): void {
    this.#plan = { machine: this.#plan.machine, steps: [] };
    this.#texts = undefined;
    this.filter = Buffer.alloc(0);
    this.#paths.clear();
    this.#ended = [];
    this.#session?.forget();
  }

  /** How to undo what a host step has just made. */
  undoBy(undo: Undo): void {
    this.#undos.push(undo);
  }

  pathOf(fd: string): string {
    return this.#paths.get(fd) ?? fd;
  }

  say(line: string): void {
    this.#options.say?.(line);
  }

  loadFilter(policy: SeccompPolicy): Buffer {
    return this.#options.loadFilter(policy);
  }

  removeRecord(directory: string): void {
    removeRecord(directory, this.#options.onRelease);
  }

  get credentials(): ReadonlyMap<string, Buffer> {
    return this.#options.credentials ?? new Map();
  }

  get stage(): StageSession {
    if (this.#session === undefined) throw new Error("the stage has not been spawned");
    return this.#session;
  }

  get keeperPid(): number {
    return this.stage.keeperPid;
  }

  get leaderPid(): number {
    return this.stage.leaderPid;
  }

  /** Writes to a file of /proc/<leader>/. The pid is init's as long as the keeper has not reaped it, which is checked after. */
  writeLeaderFile(file: string, text: string): void {
    const path = `/proc/${this.leaderPid}/${file}`;
    let fd: number | undefined;
    try {
      fd = openSync(path, constants.O_WRONLY);
      if (!pidfdSendSignal(this.fds.get("leader"), 0)) throw initDied();
      writeSync(fd, text);
    } catch (error) {
      throw ["ENOENT", "ESRCH"].includes(errorCode(error) ?? "") ? initDied() : asSysError("write", error, path);
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }

  /** Made once for all mounts that show owners the same way. */
  async mappingNamespace(mapping: IdMapping): Promise<number> {
    const name = `mapping:${JSON.stringify(mapping)}`;
    if (!this.fds.has(name)) this.fds.name(name, await mappingNamespace(this.#options.stage, mapping));
    return this.fds.get(name);
  }

  /**
   * Makes `run` end soon, whatever the stage waits for: it throws this error, when everything is undone. Too late once
   * the payload runs or the launch has failed.
   */
  abort(reason: BerthError): void {
    this.#reason ??= reason;
    this.#aborting?.abort(this.#reason);
    if (this.#state === "launching") this.#session?.endSoon();
  }

  /** For steps that wait for others than the stage; made for the first of them, since it takes Node a millisecond. */
  get aborted(): AbortSignal {
    this.#aborting ??= new AbortController();
    if (this.#reason !== undefined) this.#aborting.abort(this.#reason);
    return this.#aborting.signal;
  }

  throwIfAborted(): void {
    if (this.#reason !== undefined) throw this.#reason;
  }

  /** Runs the plan. After a failure everything is undone before the error is thrown. */
  async run(): Promise<void> {
    let index = 0;
    this.#state = "launching";
    try {
      for (const step of this.plan.steps) {
        if (step.phase === "host") {
          await this.#turn();
          this.throwIfAborted();
          if (this.#options.fail?.step === index) throw new SysError("injected", -this.#options.fail.result);
          await this.#perform(step);
        }
        this.#ended.push(step.phase === "host" ? round(monotonic() - this.#beganMonotonic) : null);
        index++;
      }
      this.throwIfAborted();
      this.#state = "over";
      // What the keeper was cloned from has exited.
      this.stage.reapStage();
      this.executed = Date.now();
      this.executedMonotonic = monotonic();
      this.fds.closeAllBut(isUsed);
    } catch (error) {
      if (this.#session === undefined) await this.#discardSpare();
      const cause = await this.#session?.abandon();
      this.#state = "over";
      // The first report is the cause, unless the keeper was killed: then everything fails that needs it.
      const first = cause instanceof LaunchError && error instanceof LaunchError ? error : (cause ?? error);
      const failure = first instanceof LaunchError ? first : new LaunchError(this.plan, index, asBerthError(first));
      this.#releaseAfter(this.#reason ?? failure);
    }
  }

  async #discardSpare(): Promise<void> {
    const spare = await Promise.resolve(this.#spare).catch(() => undefined);
    this.#spare = undefined; // once only: its pidfd may be another one by the next time
    await spare?.discard();
  }

  /** @throws `failure`, which says what could not be undone, too */
  #releaseAfter(failure: BerthError): never {
    try {
      this.release(true);
    } catch (error) {
      addUndoFailure(failure, error);
    }
    throw failure;
  }

  /** Others have theirs, where there are others. */
  async #turn(): Promise<void> {
    const { turn } = this.#options;
    if (turn === undefined || (!this.#waited && monotonic() - this.#workedFrom < SLICE_MS)) return;
    await turn();
    this.#waited = false;
    this.#workedFrom = monotonic();
  }

  async #perform(step: Step): Promise<void> {
    this.#waited ||= step.kind === "await";
    switch (step.kind) {
      case "spawn-stage":
        return this.#spawn(step.args);
      case "hand-over":
        return this.#handOver(step.args.title);
      case "await":
        // Init's last word is none: its end of the socket closes at exec.
        return step.args.from === "init" && step.args.carries.length === 0
          ? this.stage.awaitExecution()
          : this.stage.await(step);
      case "signal":
        return this.stage.tell(step.args.sync);
      default: {
        const action = HOST[step.kind as keyof typeof HOST] as (args: unknown, launch: Launch) => void | Promise<void>;
        await action(step.args, this);
      }
    }
  }

  /** Takes the spare one, unless it has made other namespaces than these. */
  async #spawn(ahead: StepOf<"spawn-stage">["args"]): Promise<void> {
    const spare = await this.#spare;
    const fits = spare !== undefined && (spare.ahead === undefined || isDeepStrictEqual(spare.ahead, ahead));
    if (!fits) await this.#discardSpare();
    const stage = fits ? spare : StageProcess.spawn(this.#options.stage);
    this.#session = new StageSession(this.plan, this.fds, stage);
    if (ahead.namespaces.length > 0 && stage.ahead === undefined) stage.makeAhead(ahead);
  }

  #handOver(title: string): void {
    // Nobody is sooner by parts where the processors have others to start meanwhile, and to compile it twice takes longer.
    const inParts = this.#options.among?.() !== true && this.plan.steps.some(({ kind }) => kind === "take-whole");
    if (inParts) this.fds.name(WHOLE, emptyImage());
    const fds = numberFds(this.stage.handedOver().map(([name]) => name));
    const { arch, fail } = this.#options;
    const part = (part: "beginning" | "whole"): CompiledPlan =>
      compile(this.plan, arch, fds, this.filter, { fail, part });
    this.stage.handOver(title, inParts ? part("beginning") : (this.#known(arch, fds) ?? part("whole")));
    if (inParts) this.stage.complete(part("whole"), this.fds.get(WHOLE));
  }

  /** A whole program by what is known of others. */
  #known(arch: "x64" | "arm64", fds: HostFds): CompiledPlan | undefined {
    const { programs, alike, fail } = this.#options;
    if (fail !== undefined) return undefined;
    return programs?.compile(this.plan, arch, fds, this.filter) ?? alike?.compile(this, arch, fds, this.filter);
  }

  /** How the machine's init has ended; null: the keeper was killed. The keeper goes on until `keeperEnd`. */
  exit(): Promise<ExitStatus | null> {
    return this.stage.exit();
  }

  keeperEnd(): Promise<void> {
    return this.stage.keeperEnd();
  }

  /**
   * Undoes the host's steps, last first: at once after a failure, otherwise when the machine has ended. What belongs to
   * the machine and not to one boot of it (an ephemeral machine's changes) stays when it is `rebooting`.
   */
  release(failed = false, rebooting = false): void {
    const failures: unknown[] = [];
    // Undoing takes fds, and that there were too many may be what has failed.
    this.fds.closeAllBut(isUsed);
    for (const undo of this.#undos.splice(0).reverse()) {
      try {
        undo(failed, rebooting, failures.length > 0);
      } catch (error) {
        failures.push(error); // the others are undone all the same
      }
    }
    this.#session?.close();
    this.fds.closeAllBut(() => false);
    if (failures.length > 0) throw failures[0];
  }
}
