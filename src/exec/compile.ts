import type { LaunchPlan, Step, StepKind, StepOf } from "../plan/step.ts";
import { Assembler, type Image, type Program, type Register } from "../stage/assembler.ts";
import { HEADER_WORDS, KEPT_FDS, STATUS_FD, SYNC, WHOLE } from "../stage/stage-abi.ts";
import { MSG_CMSG_CLOEXEC, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK } from "../sys/constants.ts";
import { Compilation, type StepMarks } from "./compilation.ts";
import { FILES } from "./compile-files.ts";
import { INACCESSIBLE } from "./compile-inaccessible.ts";
import { APIVFS, INIT } from "./compile-init.ts";
import { KEEPER } from "./compile-keeper.ts";
import { LIVE_MOUNTS } from "./compile-live-mounts.ts";
import { MOUNTS } from "./compile-mounts.ts";
import { OVERLAY } from "./compile-overlay.ts";
import { PROCESS } from "./compile-process.ts";
import type { HostFds } from "./host-fds.ts";
import { messageBuffer } from "./structs.ts";

const EAGAIN = 11;
const CONSOLE_LOG_LIMIT = 1 << 20;

export interface CompiledPlan {
  readonly image: Image;
  /** By `who` of a report: the operations of that program, to turn an index back into a step and a system call. */
  readonly programs: readonly Program[];
}

type StagePhase = "keeper" | "init" | "apivfs";
type Table = { readonly [K in StepKind]?: (args: never, c: Compilation, step: Step) => void };
const STAGE: Table = {
  ...KEEPER,
  ...MOUNTS,
  ...INACCESSIBLE,
  ...FILES,
  ...INIT,
  ...PROCESS,
  ...APIVFS,
  ...OVERLAY,
  ...LIVE_MOUNTS,
} as Table;

/** What else there is to a compilation than its plan. */
export interface CompileOptions {
  /** Tests: the step with this index ends with this result instead of doing its work (what was done before has then to be undone). */
  readonly fail?: { readonly step: number; readonly result: number } | undefined;
  /**
   * "beginning" is an image of each actor's operations up to where it takes the whole one (step take-whole), in which they
   * are the same.
   */
  readonly part?: "whole" | "beginning";
  /** Is told where it was before and after each step of the stage, by the step's index. */
  readonly marks?: Map<number, StepMarks>;
}

/** Compiles the stage's part of a plan to the image it runs. Pure: the same plan, fds and filter give the same bytes. */
export function compile(
  plan: LaunchPlan,
  arch: "x64" | "arm64",
  host: HostFds,
  filter: Buffer,
  options: CompileOptions = {},
): CompiledPlan {
  return compileWith(new Compilation(new Assembler(arch, HEADER_WORDS * 8), arch, host, filter), plan, options);
}

/** The same for who goes on with what was compiled. */
export function compileWith(
  c: Compilation,
  plan: LaunchPlan,
  { fail, part = "whole", marks }: CompileOptions = {},
): CompiledPlan {
  const { asm, host } = c;
  // Before it waits for anything: the keeper's death must show as end of file.
  asm.call(c.init, "close", [host.keeperEnd]);
  const beginning = { init: beginningOf(plan, "init"), keeper: beginningOf(plan, "keeper") };
  const compileSteps = (phase: StagePhase, from: number, to: number): void =>
    plan.steps.slice(from, to).forEach((step, offset) => {
      if (step.phase !== phase) return;
      asm.step = from + offset;
      if (fail?.step === asm.step) asm.pseudo(programOf(c, phase), "result", [fail.result]);
      const before = marks && c.mark();
      compileStep(step, c);
      if (before !== undefined) marks?.set(asm.step, { before, after: c.mark() });
    });
  // First, so that what is done there has the same registers in both. apivfs comes first: init hands over what it left where.
  compileSteps("apivfs", 0, beginning.init);
  for (const phase of ["init", "keeper"] as const) compileSteps(phase, 0, beginning[phase]);
  const carried = asm.registers;
  if (part === "whole") {
    compileSteps("apivfs", beginning.init, plan.steps.length);
    for (const phase of ["init", "keeper"] as const) compileSteps(phase, beginning[phase], plan.steps.length);
    awaitExecution(c);
  }
  c.finishCleanups();
  const image = asm.finish({
    ...{ keeper: c.keeper, init: c.init, commit: c.commit, undo: c.undo, end: c.end },
    foreground: isForeground(plan),
    alarm: host.initEnd,
    given: KEPT_FDS.map((name) => host.named.get(name) ?? -1),
    free: host.free,
    whole: part === "whole" ? -1 : (host.named.get(WHOLE) ?? -1),
    carried,
    numbers: [c.pid, c.leader, c.master, c.slave, c.root, c.self].map(({ register }) => register),
    logLimit: CONSOLE_LOG_LIMIT,
  });
  return { image, programs: [c.keeper, c.init, c.apivfs, c.commit, c.undo, c.end, c.farewell, c.stub, c.porter] };
}

/** Whether the machine ends with its supervisor. */
export function isForeground({ steps }: LaunchPlan): boolean {
  return steps.some((step) => step.kind === "begin-keeper" && step.args.foreground);
}

/** How many of the plan's steps there are up to where somebody takes the whole program. */
function beginningOf({ steps }: LaunchPlan, phase: StagePhase): number {
  return 1 + steps.findIndex((step) => step.kind === "take-whole" && step.phase === phase);
}

function programOf(c: Compilation, phase: StagePhase): Program {
  return c[phase];
}

export function compileStep(step: Step, c: Compilation): void {
  if (step.kind === "await") awaitSync(step, c);
  else if (step.kind === "signal") signalSync(step, c);
  else {
    const compiler = STAGE[step.kind];
    if (compiler === undefined) throw new Error(`step ${step.kind} has no meaning in phase ${step.phase}`);
    compiler(step.args as never, c, step);
  }
}

/**
 * Init's end of its socket closes at exec (or with its death); one byte before that is its word that it failed. A host that has nothing more
 * to say by then has given the launch up, and may have killed an init that was not executed yet: then nothing is to stay.
 */
function awaitExecution(c: Compilation): void {
  c.asm.step = -1;
  const word = c.asm.reserve(8);
  c.asm.call(c.keeper, "read", [c.host.keeperEnd, word, 1], { accept: [0, 0] });
  const flags = MSG_PEEK | MSG_DONTWAIT;
  c.asm.call(c.keeper, "recvfrom", [STATUS_FD, word, 1, flags, 0, 0], { accept: [1, 1], tolerate: EAGAIN });
}

/** Who speaks to whom over which fd: [the host's socket or the pair between keeper and init]. */
function socketOf(step: StepOf<"await"> | StepOf<"signal">, c: Compilation): number {
  const other = step.kind === "await" ? step.args.from : step.args.to;
  if (other === "host") return STATUS_FD;
  return step.phase === "init" ? c.host.initEnd : c.host.keeperEnd;
}

function awaitSync(step: StepOf<"await">, c: Compilation): void {
  const { asm } = c;
  const program = programOf(c, step.phase as "keeper" | "init");
  const socket = socketOf(step, c);
  const { carries, sync } = step.args;
  if (carries.length === 0) {
    asm.call(program, "read", [socket, asm.reserve(8), 8], { accept: [8, 8] });
    return;
  }
  const message = messageBuffer(c, sync, carries.length);
  asm.call(program, "recvmsg", [socket, message.header, MSG_CMSG_CLOEXEC], { accept: [24, 24] });
  carries.forEach((fd, index) => {
    asm.pseudo(program, "load", [{ at: message.fds.at + index * 4 }], { into: c.named(fd) });
  });
}

function signalSync(step: StepOf<"signal">, c: Compilation): void {
  const { asm } = c;
  const { carries, sync } = step.args;
  // The keeper's first word comes from the process it is cloned from, which alone knows its pid.
  const farewell = carries.includes("keeper");
  const program = farewell ? c.farewell : programOf(c, step.phase as "keeper" | "init");
  const socket = socketOf(step, c);
  if (carries.length === 0 && step.args.to !== "host") {
    asm.call(program, "write", [socket, asm.words([SYNC + sync]), 8], { accept: [8, 8] });
    return;
  }
  const message = messageBuffer(c, sync, carries.length);
  asm.pseudo(program, "store", [{ at: message.data.at + 8 }, farewell ? c.self : c.pid, 8]);
  carries.forEach((fd, index) => {
    asm.pseudo(program, "store", [{ at: message.fds.at + index * 4 }, registerOf(c, fd), 4]);
  });
  asm.call(program, "sendmsg", [socket, message.header, MSG_NOSIGNAL], { accept: [24, 24] });
}

function registerOf(c: Compilation, fd: string): Register | number {
  if (fd === "leader") return c.leader;
  if (fd === "console") return c.master;
  return c.fd(fd);
}
