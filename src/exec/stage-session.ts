import { BerthError } from "../errors.ts";
import type { LaunchPlan, StepOf } from "../plan/step.ts";
import { writeImage } from "../stage/image-file.ts";
import { EXECUTED, EXITED, isHeld, SYNC } from "../stage/stage-abi.ts";
import type { StageProcess } from "../stage/stage-process.ts";
import type { StageMessage } from "../stage/stage-socket.ts";
import { SOCK_SEQPACKET } from "../sys/constants.ts";
import { closeQuietly } from "../sys/files.ts";
import { whenReadable } from "../sys/poll.ts";
import { type ExitStatus, exitStatus, pidfdSendSignal, reapOrphan, reapPidfd } from "../sys/processes.ts";
import { socketPair } from "../sys/sockets.ts";
import { killChildren, killOrphans, reapOrphans } from "./children.ts";
import type { CompiledPlan } from "./compile.ts";
import { readExitRecord } from "./exit-record.ts";
import type { FdTable } from "./fd-table.ts";
import { describeExit, type LaunchError, meansGone, stageFailure } from "./launch-error.ts";

/** Names of fds that are the host's alone and never go to the stage. */
const PRIVATE = new Set(["stage", "keeper", "leader"]);
const SIGKILL = 9;
/** How long a keeper may take to clean up after a failure; and again, when what it waited for was killed. */
const PATIENCE_MS = 2000;

/** The processes of one launch, and what they and the host say to each other, from the stage's spawn to their end. */
export class StageSession {
  #plan: LaunchPlan;
  readonly #fds: FdTable;
  readonly #process: StageProcess;
  #compiled: CompiledPlan | undefined;
  /** What was spawned and what it cloned itself into, when they have been waited for. */
  readonly #ended = new Map<"stage" | "keeper", ExitStatus>();
  /** Since it was told to end. */
  #patience: NodeJS.Timeout | undefined;
  /** It did not end by itself: how it has ended is our doing. */
  #killed = false;
  keeperPid: number;
  leaderPid = -1;

  /** Of a stage that waits; its pidfd is named in `fds`, as are those of the processes that it reports. */
  constructor(plan: LaunchPlan, fds: FdTable, stage: StageProcess) {
    this.#plan = plan;
    this.#fds = fds;
    this.#process = stage;
    this.keeperPid = stage.pid;
    fds.name("stage", stage.pidfd);
  }

  get spawned(): StageProcess {
    return this.#process;
  }

  /** What reports of failures are understood by: none comes when the payload runs. */
  forget(): void {
    this.#plan = { machine: this.#plan.machine, steps: [] };
    this.#compiled = undefined;
  }

  /** The stage's fds, in the order in which they are handed over, but that the locks come first. */
  handedOver(): readonly (readonly [name: string, fd: number])[] {
    return this.#fds.entries().filter(([name]) => !PRIVATE.has(name));
  }

  /** `compiled` for the fds of `handedOver()`. */
  handOver(title: string, compiled: CompiledPlan): void {
    this.#compiled = compiled;
    const [keeperEnd, initEnd] = socketPair(SOCK_SEQPACKET);
    const image = writeImage(compiled.image);
    try {
      const named = (held: boolean): number[] =>
        this.handedOver().flatMap(([name, fd]) => (isHeld(name) === held ? [fd] : []));
      this.#process.handOver(title, [image, ...named(true), keeperEnd, initEnd, ...named(false)]);
    } finally {
      // From here on the death of either side shows as end of file.
      for (const fd of [image, keeperEnd, initEnd]) closeQuietly(fd);
    }
  }

  /** Writes the whole program where a stage takes it that was given the beginning only, and that is told after this. */
  complete(compiled: CompiledPlan, fd: number): void {
    this.#compiled = compiled;
    writeImage(compiled.image, fd);
  }

  tell(sync: number): void {
    this.#process.socket.tell(sync);
  }

  async await(step: StepOf<"await">): Promise<void> {
    const message = this.#checked(await this.#process.socket.hearSync(step.args.sync));
    this.#accept(step, message);
  }

  /** The keeper says so when init's end of their socket is closed: by exec. */
  async awaitExecution(): Promise<void> {
    const { who } = this.#checked(await this.#process.socket.hear());
    if (who !== EXECUTED) throw new Error(`the keeper said ${who} instead of that the payload runs`);
  }

  #checked(message: StageMessage | null): StageMessage {
    if (message === null) throw this.#keeperDied();
    if (message.who < SYNC) throw this.#failed(message);
    return message;
  }

  #accept({ args: { carries } }: StepOf<"await">, { value, fds }: StageMessage): void {
    carries.forEach((name, index) => {
      const fd = fds[index];
      if (fd === undefined) throw new Error(`the keeper sent no fd for ${name}`);
      this.#fds.name(name, fd);
    });
    if (carries.includes("leader")) this.leaderPid = value;
    if (carries.includes("keeper")) this.keeperPid = value;
  }

  #failed({ who, value, result }: StageMessage): LaunchError {
    const op = this.#compiled?.programs[who]?.ops[value];
    if (op === undefined) throw new Error(`the stage reported operation ${value} of program ${who}`);
    return stageFailure(this.#plan, op, result);
  }

  /**
   * How the machine's init has ended; null: the keeper was killed. It is known before the keeper has cleaned up and
   * exited, which `keeperEnd` waits for.
   */
  async exit(): Promise<ExitStatus | null> {
    const message = await this.#process.socket.hear();
    if (message?.who === EXITED) return exitStatus(message.value, message.result);
    return this.#fds.has("record") ? readExitRecord(this.#fds.get("record")) : null;
  }

  async keeperEnd(): Promise<void> {
    if (this.#reap(this.#keeper) !== null) return;
    await whenReadable(this.#fds.get(this.#keeper));
    this.#reap(this.#keeper);
  }

  /** Waits for the process that was spawned to exit, once the keeper is a clone of it. */
  async stageEnd(): Promise<void> {
    await whenReadable(this.#fds.get("stage"));
  }

  /** Reaps that process. */
  reapStage(): void {
    if (this.#keeper === "keeper") this.#reap("stage");
  }

  /** The keeper is the process that was spawned, or the one it cloned itself into. */
  get #keeper(): "keeper" | "stage" {
    return this.#fds.has("keeper") ? "keeper" : "stage";
  }

  /** Null: it still runs. */
  #reap(process: "stage" | "keeper"): ExitStatus | null {
    const status = this.#ended.get(process) ?? reapPidfd(this.#fds.get(process));
    if (status !== null) this.#ended.set(process, status);
    return status;
  }

  #keeperDied(): BerthError {
    const status = this.#reap(this.#keeper);
    const how = status === null ? "ended" : describeExit(status);
    return new BerthError(`the keeper ${how} before init was executed`, {
      hint: "killed by SIGKILL it mostly was for lack of memory: see dmesg, and memory.max of the cgroup",
    });
  }

  /**
   * The stage is told that we have nothing more to say, so that the keeper cleans up wherever it waits for us, and what
   * does not end by itself is killed: first what the keeper waits for, which lets it clean up, then the keeper.
   */
  endSoon(): void {
    if (this.#patience !== undefined) return;
    this.#process.socket.endTelling();
    let again = false;
    this.#patience = setInterval(() => {
      this.#kill("leader");
      const runs = this.#reap(this.#keeper) === null;
      if (runs) killChildren(this.keeperPid);
      else killOrphans(this.#entered);
      if (again) this.#kill("keeper", "stage");
      this.#killed ||= again && runs;
      again = true;
    }, PATIENCE_MS);
  }

  /**
   * Ends what the stage has become, and listens to it until it has gone or its machine runs: by its messages only we
   * know all of its processes. Returns why the stage failed, if that is why anything failed.
   */
  async abandon(): Promise<BerthError | undefined> {
    // Who is gone before we have told that we go is a cause too: init, killed while the host was at its own steps.
    const [before] = this.#patience === undefined ? this.#process.socket.hearNow() : [];
    this.endSoon();
    try {
      const after = await this.#hearOut();
      this.#kill("leader"); // not before: the keeper would take its end for its start
      for (const process of ["stage", "keeper"] as const) {
        if (!this.#fds.has(process) || this.#reap(process) !== null) continue;
        await whenReadable(this.#fds.get(process));
        this.#reap(process);
      }
      await reapOrphans(this.#entered);
      // A stage that was killed makes everything fail that needs it: its death is the cause.
      const end = this.#ended.get(this.#keeper);
      if (end !== undefined && end.reason !== "exited" && !this.#killed) return this.#keeperDied();
      return before === undefined ? after : this.#failed(before);
    } finally {
      clearInterval(this.#patience);
    }
  }

  /** The last messages of the stage. A report of a failure is a cause, unless it is that somebody else has gone. */
  async #hearOut(): Promise<LaunchError | undefined> {
    const reports = await this.#process.socket.hearOut();
    for (const step of this.#plan.steps) {
      if (step.kind !== "await" || step.phase !== "host") continue;
      const message = this.#process.socket.take(step.args.sync);
      if (message !== undefined) this.#accept(step, message);
    }
    const cause = reports.find(({ result }) => !meansGone(result));
    return cause === undefined ? undefined : this.#failed(cause);
  }

  /** The machine that is entered, and by whom. */
  get #entered(): (StepOf<"hold-machine">["args"] & { readonly command: number }) | undefined {
    const held = this.#plan.steps.find((step): step is StepOf<"hold-machine"> => step.kind === "hold-machine");
    return held && { ...held.args, command: this.leaderPid };
  }

  #kill(...processes: readonly ("leader" | "keeper" | "stage")[]): void {
    for (const process of processes) if (this.#fds.has(process)) pidfdSendSignal(this.#fds.get(process), SIGKILL);
  }

  close(): void {
    this.reapStage();
    // Where the keeper was killed before it could.
    if (this.#fds.has("leader")) reapOrphan(this.#fds.get("leader"));
    this.#process.socket.close();
  }
}
