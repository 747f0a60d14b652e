import { Socket } from "node:net";
import { BerthError } from "../errors.ts";
import { signalName } from "../spec/signals.ts";
import { type Program, subjectOf } from "../stage/assembler.ts";
import { writeImage } from "../stage/image-file.ts";
import { EXITED, SYNC } from "../stage/stage-abi.ts";
import { StageProcess } from "../stage/stage-process.ts";
import type { StageMessage } from "../stage/stage-socket.ts";
import { SOCK_SEQPACKET } from "../sys/constants.ts";
import { SysError } from "../sys/errno.ts";
import { closeQuietly, makeBlocking, openNull } from "../sys/files.ts";
import { ARCH } from "../sys/libc.ts";
import { type ExitStatus, exitStatus, pidfdSendSignal } from "../sys/processes.ts";
import { pipe, socketPair } from "../sys/sockets.ts";
import { type CommandResult, environment } from "./command.ts";
import { CommandOutput, type OutputOptions } from "./command-output.ts";
import { stagePath } from "./installation.ts";
import { compileView, fdsOf, type View, type ViewProgram } from "./view-image.ts";

export interface ViewOptions extends OutputOptions {
  /** Aborting kills the program and all that it started. */
  readonly signal: AbortSignal;
  /** Fds that it gets; by default nothing is read, and what is written comes by line. */
  readonly stdin?: number;
  readonly stdout?: number;
  /** These have been handed over: who gave them has no use for them any more. */
  readonly onHandedOver?: () => void;
}

/** Opens what a program is to see: `stack` closes it, once it is handed over. */
export type OpenView = (stack: DisposableStack) => View;

/**
 * Runs a program in namespaces of its own (all but for users), where of the host there is only what the view has. The stage makes
 * it, in a millisecond or two: mount(8) and its like, a process each, take more than ten times that. The program is init of its pid
 * namespace: all in there ends with it, with this process, and when `signal` is aborted. Resolves when that has ended.
 * @throws BerthError where the view can't be made; the signal's reason if that was aborted
 */
export async function runInView(
  program: Pick<ViewProgram, "program" | "argv" | "rights">,
  open: OpenView,
  options: ViewOptions,
): Promise<CommandResult> {
  const { signal } = options;
  signal.throwIfAborted();
  const output = new CommandOutput(options);
  const stage = StageProcess.spawnAside(stagePath(ARCH));
  using streams = new DisposableStack();
  const ended: Promise<void>[] = [];
  const listen = (fd: number): Socket => {
    const stream = streams.adopt(new Socket({ fd, readable: true, writable: false }), (each) => each.destroy());
    ended.push(new Promise((resolve) => stream.once("close", () => resolve())));
    return stream;
  };
  let programs: readonly Program[];
  try {
    using opened = new DisposableStack();
    const own = (fd: number): number => opened.adopt(fd, closeQuietly);
    const given = (fd: number): number => {
      makeBlocking(fd);
      return fd;
    };
    const view = open(opened);
    const toUs = (): [Socket, number] => {
      const [readEnd, writeEnd] = pipe();
      return [listen(readEnd), own(writeEnd)];
    };
    const [stderr, errors] = toUs();
    const [stdout, results] = options.stdout === undefined ? toUs() : [null, given(options.stdout)];
    const input = options.stdin === undefined ? own(openNull()) : given(options.stdin);
    output.read(stdout, stderr);
    programs = handOver(await stage, { ...view, ...program, stdio: [input, results, errors], env: environment() });
    options.onHandedOver?.();
  } catch (error) {
    await (await stage).discard();
    throw isOfPeerGone(error) ? keeperKilled(error) : error;
  }
  const exit = await exitOf(await stage, programs, signal);
  await Promise.all(ended);
  signal.throwIfAborted();
  if (exit === null) throw keeperKilled();
  const code = exit.reason === "exited" ? exit.status : null;
  const status = code === null ? `was killed by ${signalName(exit.status)}` : `ended with status ${code}`;
  return { ok: code === 0, code, status, tail: output.tail };
}

function isOfPeerGone(error: unknown): boolean {
  return error instanceof SysError && (error.code === "EPIPE" || error.code === "ECONNRESET");
}

function keeperKilled(cause?: unknown): BerthError {
  return new BerthError("the keeper of a confined program was killed", {
    hint: "mostly for lack of memory: see dmesg",
    cause,
  });
}

function handOver(stage: StageProcess, program: ViewProgram): readonly Program[] {
  const { image, programs } = compileView(program, ARCH);
  using handed = new DisposableStack();
  const own = (fd: number): number => handed.adopt(fd, closeQuietly);
  const fds = [own(writeImage(image)), ...socketPair(SOCK_SEQPACKET).map(own)];
  stage.handOver(TITLE, [...fds, ...fdsOf(program)]);
  return programs;
}

const TITLE = "berth-view";
const SIGKILL = 9;
/** ms that the keeper may take to end all, before it is killed itself. */
const PATIENCE = 2000;

/** Waits for all to have ended. Null: the keeper was killed. @throws SysError, where the program was not executed */
async function exitOf(
  stage: StageProcess,
  programs: readonly Program[],
  signal: AbortSignal,
): Promise<ExitStatus | null> {
  let patience: NodeJS.Timeout | undefined;
  const end = (): void => {
    stage.socket.endTelling();
    patience = setTimeout(() => pidfdSendSignal(stage.pidfd, SIGKILL), PATIENCE);
  };
  if (signal.aborted) end();
  else signal.addEventListener("abort", end, { once: true });
  let exit: ExitStatus | null = null;
  let failure: StageMessage | undefined;
  try {
    for (let message = await stage.socket.hear(); message !== null; message = await stage.socket.hear()) {
      // Init's own comes before its keeper's.
      if (message.who < SYNC) failure ??= message;
      else if (message.who === EXITED) exit = exitStatus(message.value, message.result);
    }
  } finally {
    signal.removeEventListener("abort", end);
    await stage.discard();
    clearTimeout(patience);
  }
  const op = failure === undefined ? undefined : programs[failure.who]?.ops[failure.value];
  if (failure !== undefined && op !== undefined && !signal.aborted)
    throw new SysError(op.name, -failure.result, { subject: subjectOf(op) });
  return exit;
}
