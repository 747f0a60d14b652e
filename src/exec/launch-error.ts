import { BerthError } from "../errors.ts";
import { describe } from "../plan/describe.ts";
import type { LaunchPlan, Step } from "../plan/step.ts";
import { signalName } from "../spec/signals.ts";
import { showSource } from "../spec/source.ts";
import { type Op, subjectOf } from "../stage/assembler.ts";
import { SysError } from "../sys/errno.ts";
import type { ExitStatus } from "../sys/processes.ts";

/** A step of a launch that failed: which one, why, and the setting that asked for it. */
export class LaunchError extends BerthError {
  readonly index: number;
  readonly step: Step | undefined;

  constructor(plan: LaunchPlan, index: number, cause: BerthError) {
    const step = plan.steps[index];
    const what = step === undefined ? "" : `step #${index} ${step.phase} (${describe(step)}): `;
    const where = step === undefined || step.source.from === "default" ? "" : ` [${showSource(step.source)}]`;
    const doing = plan.steps[1]?.kind === "hold-machine" ? "entering" : "starting";
    super(`${doing} ${plan.machine} failed at ${what}${cause.message}${where}`, {
      hint: stepHint(step, cause) ?? cause.hint,
      exitStatus: cause.exitStatus,
      cause,
    });
    this.index = index;
    this.step = step;
  }
}

/** Where the step says more than the call and its errno do. */
function stepHint(step: Step | undefined, cause: BerthError): string | undefined {
  if (!(cause instanceof SysError)) return undefined;
  if (step?.kind === "cover" && cause.code === "ENOENT")
    return "only what is there, in the tree or mounted there by then, can be made inaccessible: leave it out";
  if (step?.kind === "attach" && cause.code === "EROFS" && step.args.target.startsWith("/run/host/"))
    return "/run/host is berth's own and read-only inside: choose a place outside of it";
  if (step?.kind === "change-directory" && cause.code === "ENOENT")
    return "the directory has to be there in the machine";
  return undefined;
}

const EXIT_NOT_EXECUTABLE = 126;
const EXIT_NOT_FOUND = 127;

/** The system calls behind operations of its own. */
const CALLS: Readonly<Partial<Record<Op["name"], string>>> = {
  spawn: "clone3",
  become: "clone3",
  stay: "clone3",
};

/** What the stage reports, an operation and its result, as the step it belongs to and the call that failed. */
export function stageFailure(plan: LaunchPlan, op: Op, result: number): LaunchError {
  const call = CALLS[op.name] ?? op.name;
  const cause = meansGone(result) ? otherDied(call, result) : new SysError(call, -result, { subject: subjectOf(op) });
  if (op.name !== "execve") return new LaunchError(plan, op.step, cause);
  const exitStatus = cause instanceof SysError && cause.code === "ENOENT" ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
  return new LaunchError(plan, op.step, new BerthError(cause.message, { hint: cause.hint, exitStatus, cause }));
}

const EPIPE = 32;
const ECONNRESET = 104;

/** End of file, or the kernel's words for it to who writes, and when the other side had not read everything. */
export function meansGone(result: number): boolean {
  return result >= 0 || result === -EPIPE || result === -ECONNRESET;
}

const WAS_KILLED =
  "it was killed, most likely by the kernel for lack of memory: see dmesg, and memory.max of the cgroup";

/** Whoever should have written or read has died. */
function otherDied(call: string, result: number): BerthError {
  return new BerthError(`${call}: the other side ended (result ${result})`, { hint: WAS_KILLED });
}

export function initDied(): BerthError {
  return new BerthError("init died before it was executed", { hint: WAS_KILLED });
}

/** What failed first is what the user is told first. */
export function addUndoFailure(failure: BerthError, undo: unknown): void {
  failure.message += `; and to undo it failed too, until the next start or --cleanup: ${asBerthError(undo).message}`;
}

export function asBerthError(error: unknown): BerthError {
  return error instanceof BerthError ? error : asSysError("", error, "");
}

/** Node's own errors of fs calls carry syscall, path and a negative errno. */
export function asSysError(call: string, error: unknown, path: string): BerthError {
  if (error instanceof BerthError) return error;
  if (!(error instanceof Error) || !("errno" in error) || typeof error.errno !== "number") throw error;
  const syscall = "syscall" in error && typeof error.syscall === "string" ? error.syscall : call;
  const subject = "path" in error && typeof error.path === "string" ? error.path : path;
  return new SysError(syscall, -error.errno, { path: subject });
}

export function describeExit(status: ExitStatus): string {
  return status.reason === "exited"
    ? `exited with status ${status.status}`
    : `was killed by ${signalName(status.status)}`;
}
