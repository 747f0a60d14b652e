import { closeSync, constants, openSync, writeSync } from "node:fs";
import { BerthError } from "../errors.ts";
import type { SeccompPolicy } from "../plan/seccomp-policy.ts";
import type { LaunchPlan, Step, StepOf } from "../plan/step.ts";
import { SOCK_SEQPACKET } from "../sys/constants.ts";
import { SysError } from "../sys/errno.ts";
import { closeQuietly } from "../sys/files.ts";
import { whenReadable } from "../sys/poll.ts";
import { type ExitStatus, pidfdSendSignal, reapPidfd } from "../sys/processes.ts";
import { socketPair } from "../sys/sockets.ts";
import { numberFds } from "./compilation.ts";
import { type CompiledPlan, compile } from "./compile.ts";
import { exitStatus, readExitRecord } from "./exit-record.ts";
import { HOST, type Undo } from "./host-steps.ts";
import { writeImage } from "./image-file.ts";
import { asBerthError, asSysError, describeExit, LaunchError, meansGone, stageFailure } from "./launch-error.ts";
import { EXECUTED, EXITED, SYNC } from "./stage-abi.ts";
import { StageProcess } from "./stage-process.ts";
import type { StageMessage, StageSocket } from "./stage-socket.ts";

export { LaunchError } from "./launch-error.ts";

export interface LaunchOptions {
  /** The stage's executable for this architecture. */
  readonly stage: string;
  readonly arch: "x64" | "arm64";
  /** BPF for a seccomp policy, from the cache or compiled. */
  readonly loadFilter: (policy: SeccompPolicy) => Buffer;
  /** More fds for the stage, by the names the plan uses (`stdio:0`, `mirror`); launch owns and closes them. */
  readonly fds?: ReadonlyMap<string, number>;
  /** A stage that was spawned ahead; launch owns it. */
  readonly spare?: StageProcess;
  /** Tests: the step with this index fails with this result (a negative errno). */
  readonly fail?: { readonly step: number; readonly result: number };
}

/** fds the host itself goes on using when the machine runs; the others are closed then. */
const HELD = ["leader", "keeper", "stage", "console", "terminal", "notify-socket", "record", "name-lock", "range-lock"];
/** Names of fds that are the host's alone and never go to the stage. */
const PRIVATE = new Set(["notify-socket", "stage", "keeper", "leader", "user-namespace"]);
const SIGKILL = 9;
/** How long a keeper may take to clean up after a failure. */
const PATIENCE_MS = 2000;

/** One start of one machine, from the first host step to its release; what actions in host-steps.ts work on. */
export class Launch {
  readonly plan: LaunchPlan;
  readonly #options: LaunchOptions;
  readonly #fds = new Map<string, number>();
  readonly #paths = new Map<string, string>();
  readonly #undos: Undo[] = [];
  #compiled: CompiledPlan | undefined;
  #socket: StageSocket | undefined;
  #process: StageProcess | undefined;
  /** What was spawned and what it cloned itself into, when they have been waited for. */
  readonly #ended = new Map<"stage" | "keeper", ExitStatus>();
  /** The stage did not end by itself and was killed by us. */
  #impatient = false;
  filter: Buffer = Buffer.alloc(0);
  keeperPid = -1;
  leaderPid = -1;
  /** ms since the epoch: when the launch began and when init was executed. */
  readonly began = Date.now();
  executed = 0;
  /** The latter on CLOCK_MONOTONIC, ms. */
  executedMonotonic = 0;

  constructor(plan: LaunchPlan, options: LaunchOptions) {
    this.plan = plan;
    this.#options = options;
    for (const [name, fd] of options.fds ?? []) this.name(name, fd);
    for (const step of plan.steps) if (step.kind === "clone-tree") this.#paths.set(step.args.fd, step.args.path);
  }

  /** Gives an fd its name in the plan. */
  name(name: string, fd: number): void {
    this.#fds.set(name, fd);
  }

  fd(name: string): number {
    const fd = this.#fds.get(name);
    if (fd === undefined) throw new Error(`no fd is named ${name}`);
    return fd;
  }

  /** How to undo what a host step has just made. */
  undoBy(undo: Undo): void {
    this.#undos.push(undo);
  }

  /** pidfd of the keeper: the process that was spawned, or the one it cloned itself into. */
  get keeper(): number {
    return this.fd(this.#fds.has("keeper") ? "keeper" : "stage");
  }

  pathOf(fd: string): string {
    return this.#paths.get(fd) ?? fd;
  }

  loadFilter(policy: SeccompPolicy): Buffer {
    return this.#options.loadFilter(policy);
  }

  /** Writes to a file of /proc/<leader>/. The pid is init's as long as the keeper has not reaped it, which is checked after. */
  writeLeaderFile(file: string, text: string): void {
    const path = `/proc/${this.leaderPid}/${file}`;
    const fd = openSync(path, constants.O_WRONLY);
    try {
      this.#checkLeader();
      writeSync(fd, text);
    } catch (error) {
      throw asSysError("write", error, path);
    } finally {
      closeSync(fd);
    }
  }

  leaderUserNamespace(): number {
    const known = this.#fds.get("user-namespace");
    if (known !== undefined) return known;
    const fd = openSync(`/proc/${this.leaderPid}/ns/user`, constants.O_RDONLY);
    this.name("user-namespace", fd);
    this.#checkLeader();
    return this.fd("user-namespace");
  }

  #checkLeader(): void {
    if (!pidfdSendSignal(this.fd("leader"), 0)) throw new BerthError("init died before it was executed");
  }

  /** Runs the plan. After a failure everything is undone before the error is thrown. */
  async run(): Promise<void> {
    let index = 0;
    try {
      for (const step of this.plan.steps) {
        if (step.phase === "host") {
          if (this.#options.fail?.step === index) throw new SysError("injected", -this.#options.fail.result);
          await this.#perform(step);
        }
        index++;
      }
      // What the keeper was cloned from has exited.
      if (this.#fds.has("keeper")) this.#reap("stage");
      this.executed = Date.now();
      this.executedMonotonic = Number(process.hrtime.bigint()) / 1e6;
      this.#closeAllBut(HELD);
    } catch (error) {
      const failure = await this.#abandon();
      // A stage that was killed makes everything fail that needs it: its death is the cause.
      const died = this.#ended.get("keeper") ?? this.#ended.get("stage");
      if (died?.reason === "killed" && !this.#impatient) throw new LaunchError(this.plan, index, this.#keeperDied());
      if (error instanceof LaunchError) throw error;
      throw failure ?? new LaunchError(this.plan, index, asBerthError(error));
    }
  }

  async #perform(step: Step): Promise<void> {
    switch (step.kind) {
      case "spawn-stage":
        return this.#spawnStage();
      case "hand-over":
        return this.#handOver(step.args.title);
      case "await":
        // Init's last word is none: its end of the socket closes at exec.
        return step.args.from === "init" && step.args.carries.length === 0
          ? this.#awaitExecution()
          : this.#awaitSync(step);
      case "signal":
        return this.#stage.tell(step.args.sync);
      default: {
        const action = HOST[step.kind as keyof typeof HOST] as (args: unknown, launch: Launch) => void | Promise<void>;
        await action(step.args, this);
      }
    }
  }

  #spawnStage(): void {
    const stage = this.#options.spare ?? new StageProcess(this.#options.stage);
    this.#socket = stage.socket;
    this.#process = stage;
    this.keeperPid = stage.pid;
    this.name("stage", stage.pidfd);
  }

  #handOver(title: string): void {
    const named = [...this.#fds].filter(([name]) => !PRIVATE.has(name));
    this.#compiled = compile(
      this.plan,
      this.#options.arch,
      numberFds(named.map(([name]) => name)),
      this.filter,
      this.#options.fail,
    );
    const [keeperEnd, initEnd] = socketPair(SOCK_SEQPACKET);
    const image = writeImage(this.#compiled);
    try {
      this.#process?.handOver(title, [image, keeperEnd, initEnd, ...named.map(([, fd]) => fd)]);
    } finally {
      // From here on the death of either side shows as end of file.
      for (const fd of [image, keeperEnd, initEnd]) closeQuietly(fd);
    }
  }

  get #stage(): StageSocket {
    if (this.#socket === undefined) throw new Error("the stage has not been spawned");
    return this.#socket;
  }

  async #awaitSync(step: StepOf<"await">): Promise<void> {
    const message = await this.#stage.hearSync(step.args.sync);
    if (message === null) throw this.#keeperDied();
    if (message.who < SYNC) throw this.#stageFailed(message);
    this.#accept(step, message);
  }

  #accept({ args: { carries } }: StepOf<"await">, { value, fds }: StageMessage): void {
    carries.forEach((name, index) => {
      const fd = fds[index];
      if (fd === undefined) throw new Error(`the keeper sent no fd for ${name}`);
      this.name(name, fd);
    });
    if (carries.includes("leader")) this.leaderPid = value;
    if (carries.includes("keeper")) this.keeperPid = value;
  }

  /** The keeper says so when init's end of their socket is closed: by exec. */
  async #awaitExecution(): Promise<void> {
    const message = await this.#stage.hear();
    if (message === null) throw this.#keeperDied();
    if (message.who < SYNC) throw this.#stageFailed(message);
    if (message.who !== EXECUTED) throw new Error(`the keeper said ${message.who} instead of that the payload runs`);
  }

  /**
   * How the machine's init has ended; null: the keeper was killed. It is known before the keeper has cleaned up and
   * exited, which `keeperEnd` waits for.
   */
  async exit(): Promise<ExitStatus | null> {
    const message = await this.#stage.hear();
    if (message?.who === EXITED) return exitStatus(message.value, message.result);
    return this.#fds.has("record") ? readExitRecord(this.fd("record")) : null;
  }

  async keeperEnd(): Promise<void> {
    if (this.#reap(this.#fds.has("keeper") ? "keeper" : "stage") !== null) return;
    await whenReadable(this.keeper);
    this.reapKeeper();
  }

  #stageFailed({ who, value, result }: StageMessage): LaunchError {
    const op = this.#compiled?.programs[who]?.ops[value];
    if (op === undefined) throw new Error(`the stage reported operation ${value} of program ${who}`);
    return stageFailure(this.plan, op, result);
  }

  /** Waits for the process that was spawned to exit, once the keeper is a clone of it. */
  async stageEnd(): Promise<void> {
    await whenReadable(this.fd("stage"));
  }

  /** How the keeper ended; null: it still runs. */
  reapKeeper(): ExitStatus | null {
    return this.#reap(this.#fds.has("keeper") || this.#ended.has("keeper") ? "keeper" : "stage");
  }

  #reap(process: "stage" | "keeper"): ExitStatus | null {
    const status = this.#ended.get(process) ?? reapPidfd(this.fd(process));
    if (status !== null) this.#ended.set(process, status);
    return status;
  }

  #keeperDied(): BerthError {
    const status = this.reapKeeper();
    const how = status === null ? "ended" : describeExit(status);
    return new BerthError(`the keeper ${how} before init was executed`, {
      hint: "killed by SIGKILL it mostly was for lack of memory: see dmesg, and memory.max of the cgroup",
    });
  }

  /** Takes everything back. Returns what failed in the stage, if that is why something failed here. */
  async #abandon(): Promise<LaunchError | undefined> {
    const failure = this.#fds.has("stage") ? await this.#endStage() : undefined;
    this.release(true);
    return failure;
  }

  /**
   * Ends what the stage has become. It is told that we have nothing more to say, so that the keeper cleans up wherever
   * it waits for us, and is listened to until it has gone or its machine runs: by its messages only we know all of its
   * processes.
   */
  async #endStage(): Promise<LaunchError | undefined> {
    this.#stage.endTelling();
    const patience = setInterval(() => {
      this.#impatient = true;
      this.#kill("leader", "keeper", "stage");
    }, PATIENCE_MS);
    try {
      const failure = await this.#hearOut();
      this.#kill("leader"); // not before: the keeper would take its end for its start
      for (const process of ["stage", "keeper"] as const) {
        if (!this.#fds.has(process) || this.#ended.has(process)) continue;
        await whenReadable(this.fd(process));
        this.#reap(process);
      }
      return failure;
    } finally {
      clearInterval(patience);
    }
  }

  /** The last messages of the stage. A report of a failure is a cause, unless it is that somebody else has gone. */
  async #hearOut(): Promise<LaunchError | undefined> {
    const reports = await this.#stage.hearOut();
    for (const step of this.plan.steps) {
      const message = step.kind === "await" && step.phase === "host" ? this.#stage.take(step.args.sync) : undefined;
      if (step.kind === "await" && message !== undefined) this.#accept(step, message);
    }
    const cause = reports.find(({ result }) => !meansGone(result));
    return cause === undefined ? undefined : this.#stageFailed(cause);
  }

  #kill(...processes: readonly ("leader" | "keeper" | "stage")[]): void {
    for (const process of processes) {
      const pidfd = this.#fds.get(process);
      if (pidfd !== undefined) pidfdSendSignal(pidfd, SIGKILL);
    }
  }

  /**
   * Undoes the host's steps, last first: at once after a failure, otherwise when the machine has ended. What belongs to
   * the machine and not to one boot of it (an ephemeral machine's changes) stays when it is `rebooting`.
   */
  release(failed = false, rebooting = false): void {
    const failures: unknown[] = [];
    for (const undo of this.#undos.splice(0).reverse()) {
      try {
        undo(failed, rebooting);
      } catch (error) {
        failures.push(error); // the others are undone all the same
      }
    }
    if (this.#fds.has("keeper") && this.#fds.has("stage")) this.#reap("stage");
    this.#closeAllBut([]);
    this.#socket?.close();
    if (failures.length > 0) throw failures[0];
  }

  #closeAllBut(held: readonly string[]): void {
    this.#close([...this.#fds.keys()].filter((name) => !held.includes(name)));
  }

  #close(names: readonly string[]): void {
    for (const name of names) {
      const fd = this.#fds.get(name);
      if (fd !== undefined && this.#fds.delete(name)) closeQuietly(fd);
    }
  }
}
