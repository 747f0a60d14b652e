import { closeSync, constants, openSync, writeSync } from "node:fs";
import { BerthError } from "../errors.ts";
import { describe } from "../plan/describe.ts";
import type { SeccompPolicy } from "../plan/seccomp-policy.ts";
import type { LaunchPlan, Step, StepOf } from "../plan/step.ts";
import { showSource } from "../spec/source.ts";
import { SOCK_SEQPACKET } from "../sys/constants.ts";
import { SysError } from "../sys/errno.ts";
import { closeQuietly, duplicate, memfdCreate, openNull, truncateFd } from "../sys/files.ts";
import { whenReadable } from "../sys/poll.ts";
import { type ExitStatus, pidfdOpen, pidfdSendSignal, reapPidfd } from "../sys/processes.ts";
import { receive, send, socketPair } from "../sys/sockets.ts";
import { spawnProcess } from "../sys/spawn.ts";
import { subjectOf } from "./assembler.ts";
import { type CompiledPlan, compile, SYNC } from "./compile.ts";
import { readExitRecord } from "./exit-record.ts";
import { HOST, type Undo } from "./host-steps.ts";

export interface LaunchOptions {
  /** The stage's executable for this architecture. */
  readonly stage: string;
  readonly arch: "x64" | "arm64";
  /** BPF for a seccomp policy, from the cache or compiled. */
  readonly loadFilter: (policy: SeccompPolicy) => Buffer;
  /** More fds for the stage, by the names the plan uses (`stdio:0`, `mirror`, `lifeline`); launch owns and closes them. */
  readonly fds?: ReadonlyMap<string, number>;
  /** Tests: the step with this index fails with this result (a negative errno). */
  readonly fail?: { readonly step: number; readonly result: number };
}

/** A step of a launch that failed: which one, why, and the setting that asked for it. */
export class LaunchError extends BerthError {
  readonly index: number;
  readonly step: Step | undefined;

  constructor(plan: LaunchPlan, index: number, cause: BerthError) {
    const step = plan.steps[index];
    const what = step === undefined ? "" : `step #${index} ${step.phase} (${describe(step)}): `;
    const where = step === undefined || step.source.from === "default" ? "" : ` [${showSource(step.source)}]`;
    const doing = plan.steps[0]?.kind === "hold-machine" ? "entering" : "starting";
    super(`${doing} ${plan.machine} failed at ${what}${cause.message}${where}`, {
      hint: cause.hint,
      exitStatus: cause.exitStatus,
      cause,
    });
    this.index = index;
    this.step = step;
  }
}

/** fds the host itself goes on using when the machine runs; the others are closed then. */
const HELD = ["leader", "keeper", "stage", "console", "terminal", "notify-socket", "record", "name-lock", "range-lock"];
/** Names of fds that are the host's alone and never go to the stage. */
const PRIVATE = new Set(["notify-socket", "stage", "keeper", "leader", "user-namespace"]);
const SIGKILL = 9;
const EXIT_NOT_EXECUTABLE = 126;
const EXIT_NOT_FOUND = 127;

/** One start of one machine, from the first host step to its release; what actions in host-steps.ts work on. */
export class Launch {
  readonly plan: LaunchPlan;
  readonly #options: LaunchOptions;
  readonly #fds = new Map<string, number>();
  readonly #paths = new Map<string, string>();
  readonly #undos: Undo[] = [];
  #compiled: CompiledPlan | undefined;
  #status = -1;
  #keeperStatus: ExitStatus | null = null;
  filter: Buffer = Buffer.alloc(0);
  keeperPid = -1;
  leaderPid = -1;
  /** ms since the epoch: when the launch began and when init was executed. */
  readonly began = performance.timeOrigin + performance.now();
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
    // The stage finds its image at fd 3, so nothing that is handed to it may have that number.
    this.#fds.set(name, fd === 3 ? moveAway(fd) : fd);
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
      if (this.#fds.has("keeper")) reapPidfd(this.fd("stage"));
      this.executed = performance.timeOrigin + performance.now();
      this.executedMonotonic = Number(process.hrtime.bigint()) / 1e6;
      this.#closeAllBut(HELD);
    } catch (error) {
      // A stage that was killed makes everything fail that needs it: its death is the cause.
      const killed = this.#fds.has("stage") && this.reapKeeper()?.reason === "killed" ? this.#keeperDied() : undefined;
      await this.#abandon();
      if (killed !== undefined) throw new LaunchError(this.plan, index, killed);
      if (error instanceof LaunchError) throw error;
      throw new LaunchError(this.plan, index, asBerthError(error));
    }
  }

  async #perform(step: Step): Promise<void> {
    switch (step.kind) {
      case "spawn-keeper":
        return this.#spawnKeeper(step.args.title);
      case "await":
        // Init's last word is none: its end of the socket closes at exec.
        return step.args.from === "init" && step.args.carries.length === 0
          ? this.#awaitExecution()
          : this.#awaitSync(step);
      case "signal":
        return send(this.#status, syncMessage(step.args.sync));
      default: {
        const action = HOST[step.kind as keyof typeof HOST] as (args: unknown, launch: Launch) => void | Promise<void>;
        await action(step.args, this);
      }
    }
  }

  #spawnKeeper(title: string): void {
    const [ours, status] = socketPair(SOCK_SEQPACKET);
    const [keeperEnd, initEnd] = socketPair(SOCK_SEQPACKET);
    this.#status = ours;
    for (const [name, fd] of [
      ["status", status],
      ["keeper-end", keeperEnd],
      ["init-end", initEnd],
    ] as const)
      this.name(name, fd);
    const passed = new Map([...this.#fds].filter(([name]) => !PRIVATE.has(name)));
    const named = new Map([...passed].filter(([name]) => !["status", "keeper-end", "init-end"].includes(name)));
    const fds = { status: this.fd("status"), keeperEnd: this.fd("keeper-end"), initEnd: this.fd("init-end"), named };
    this.#compiled = compile(this.plan, this.#options.arch, fds, this.filter, this.#options.fail);
    const image = writeImage(this.#compiled);
    const nothing = openNull();
    try {
      const stdio = [0, 1, 2].map((target) => [nothing, target] as const);
      const kept = [...passed.values()].map((fd) => [fd, fd] as const);
      this.keeperPid = spawnProcess(this.#options.stage, [title], [...kept, ...stdio, [image, 3]]);
      this.name("stage", pidfdOpen(this.keeperPid));
    } finally {
      closeSync(image);
      closeSync(nothing);
      // From here on the stage's death shows as end of file.
      this.#close(["status", "keeper-end", "init-end"]);
    }
  }

  async #awaitSync(step: StepOf<"await">): Promise<void> {
    const message = await this.#message();
    if (message === null) throw this.#keeperDied();
    if (message.who !== SYNC + step.args.sync)
      throw new Error(`the keeper sent ${message.who} at sync #${step.args.sync}`);
    step.args.carries.forEach((name, index) => {
      const fd = message.fds[index];
      if (fd === undefined) throw new Error(`the keeper sent no fd for ${name}`);
      this.name(name, fd);
    });
    if (step.args.carries.includes("leader")) this.leaderPid = message.value;
    if (step.args.carries.includes("keeper")) this.keeperPid = message.value;
  }

  /** End of file on the status socket: init has been executed and the keeper keeps. */
  async #awaitExecution(): Promise<void> {
    if ((await this.#message()) !== null) throw new Error("the keeper sent something after its last word");
    // A keeper that is gone already without a record did not see the payload end: it was killed.
    if (this.reapKeeper() !== null && readExitRecord(this.fd("record")) === null) throw this.#keeperDied();
  }

  /** The next message of the stage; null: end of file. A report of a failure is thrown. */
  async #message(): Promise<{ who: number; value: number; fds: readonly number[] } | null> {
    for (;;) {
      const message = receive(this.#status);
      if (message === null) {
        await whenReadable(this.#status);
        continue;
      }
      if (message.data.length === 0) return null;
      const who = Number(message.data.readBigInt64LE(0));
      const value = Number(message.data.readBigInt64LE(8));
      if (who >= SYNC) return { who, value, fds: message.fds };
      throw this.#stageFailed(who, value, Number(message.data.readBigInt64LE(16)));
    }
  }

  /** Turns a report {program, operation, result} back into the step it belongs to and the call that failed. */
  #stageFailed(who: number, index: number, result: number): LaunchError {
    const op = this.#compiled?.programs[who]?.ops[index];
    if (op === undefined) throw new Error(`the stage reported operation ${index} of program ${who}`);
    const cause =
      result < 0 ? new SysError(op.name, -result, { subject: subjectOf(op) }) : this.#otherDied(op.name, result);
    if (op.name !== "execve") return new LaunchError(this.plan, op.step, cause);
    const exitStatus = cause instanceof SysError && cause.code === "ENOENT" ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
    return new LaunchError(this.plan, op.step, new BerthError(cause.message, { hint: cause.hint, exitStatus, cause }));
  }

  /** A read that ended early: whoever should have written has died. */
  #otherDied(call: string, result: number): BerthError {
    return new BerthError(`${call}: the other side ended (result ${result})`, {
      hint: "it was killed, most likely by the kernel for lack of memory: see dmesg, and memory.max of the cgroup",
    });
  }

  /** Waits for the process that was spawned to exit, once the keeper is a clone of it. */
  async stageEnd(): Promise<void> {
    await whenReadable(this.fd("stage"));
  }

  /** How the keeper ended; null: it still runs. */
  reapKeeper(): ExitStatus | null {
    this.#keeperStatus ??= reapPidfd(this.keeper);
    return this.#keeperStatus;
  }

  #keeperDied(): BerthError {
    const status = this.reapKeeper();
    const how = status === null ? "ended" : describeExit(status);
    return new BerthError(`the keeper ${how} before init was executed`, {
      hint: "killed by SIGKILL it mostly was for lack of memory: see dmesg, and memory.max of the cgroup",
    });
  }

  /** Takes everything back. The keeper cleans up after the stage when it sees end of file; it is given two seconds. */
  async #abandon(): Promise<void> {
    this.#closeStatus();
    if (this.#fds.has("stage") && this.reapKeeper() === null) await this.#endKeeper();
    this.release(true);
  }

  async #endKeeper(): Promise<void> {
    const { keeper } = this;
    const leader = this.#fds.get("leader");
    const patience = setTimeout(() => {
      if (leader !== undefined) pidfdSendSignal(leader, SIGKILL);
      pidfdSendSignal(keeper, SIGKILL);
    }, 2000);
    await whenReadable(keeper);
    clearTimeout(patience);
    this.reapKeeper();
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
    this.#closeAllBut([]);
    if (failures.length > 0) throw failures[0];
  }

  #closeAllBut(held: readonly string[]): void {
    this.#close([...this.#fds.keys()].filter((name) => !held.includes(name)));
    this.#closeStatus();
  }

  /** Once only: the number may be another fd's by the next time. */
  #closeStatus(): void {
    if (this.#status >= 0) closeQuietly(this.#status);
    this.#status = -1;
  }

  #close(names: readonly string[]): void {
    for (const name of names) {
      const fd = this.#fds.get(name);
      if (fd !== undefined && this.#fds.delete(name)) closeQuietly(fd);
    }
  }
}

function syncMessage(sync: number): Buffer {
  const message = Buffer.alloc(8);
  message.writeBigInt64LE(BigInt(SYNC + sync));
  return message;
}

function writeImage(compiled: CompiledPlan): number {
  const fd = memfdCreate("berth-image");
  truncateFd(fd, compiled.image.size);
  for (const { offset, bytes } of compiled.image.parts) writeSync(fd, bytes, 0, bytes.length, offset);
  return fd;
}

function moveAway(fd: number): number {
  const moved = duplicate(fd, 4);
  closeSync(fd);
  return moved;
}

export function describeExit(status: ExitStatus): string {
  return status.reason === "exited" ? `exited with status ${status.status}` : `was killed by signal ${status.status}`;
}

function asBerthError(error: unknown): BerthError {
  return error instanceof BerthError ? error : asSysError("", error, "");
}

/** Node's own errors of fs calls carry syscall, path and a negative errno. */
function asSysError(call: string, error: unknown, path: string): BerthError {
  if (error instanceof BerthError) return error;
  if (!(error instanceof Error) || !("errno" in error) || typeof error.errno !== "number") throw error;
  const syscall = "syscall" in error && typeof error.syscall === "string" ? error.syscall : call;
  const subject = "path" in error && typeof error.path === "string" ? error.path : path;
  return new SysError(syscall, -error.errno, { path: subject });
}
