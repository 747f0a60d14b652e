import { setTimeout } from "node:timers/promises";
import type { Paths } from "../host/paths.ts";
import { type Caller, ConsoleLink, sizeOf } from "../supervise/console.ts";
import { MasterReader } from "../supervise/master-reader.ts";
import { pidfdSendSignal } from "../sys/processes.ts";
import { callerStdio } from "./caller-stdio.ts";
import { joinedStatus, joinMachine } from "./join.ts";
import type { MachineRecord } from "./record.ts";

export interface ExecRequest {
  readonly argv: readonly string[];
  /** Programs to try instead of what PATH finds for argv[0]. */
  readonly candidates?: readonly string[];
  /** On a terminal of the machine's own; otherwise the caller's stdio is passed on. */
  readonly terminal: boolean;
  readonly caller: Caller;
  readonly env: NodeJS.ProcessEnv;
}

const FORWARDED = { SIGTERM: 15, SIGINT: 2, SIGHUP: 1, SIGQUIT: 3 } as const;
/** A job left in the background may hold the terminal open: what it shows so long after the command is not waited for. */
const TAIL_MS = 100;

/** Runs a command in a running machine as its root. Returns the command's exit status, 128+N when signal N killed it. */
export async function execIn(machine: MachineRecord, request: ExecRequest, paths: Paths): Promise<number> {
  const { argv, candidates, caller } = request;
  const stdio = request.terminal ? undefined : callerStdio(caller);
  const fds = stdio?.fds ?? new Map<string, number>();
  const term = request.terminal ? (request.env["TERM"] ?? "xterm") : undefined;
  const launch = joinMachine(machine, { argv, candidates, term, size: sizeOf(caller), fds }, paths);
  let running = false;
  let early: NodeJS.Signals | undefined;
  const forward = (signal: NodeJS.Signals): void => {
    if (running) pidfdSendSignal(launch.fds.get("leader"), FORWARDED[signal as keyof typeof FORWARDED]);
    else early = signal;
  };
  for (const signal of Object.keys(FORWARDED)) process.on(signal, forward);
  try {
    await launch.run();
    running = true;
    if (early !== undefined) forward(early);
    const link = request.terminal
      ? showTerminal(launch.fds.get("terminal"), caller, () => forward("SIGHUP"))
      : undefined;
    const status = await joinedStatus(launch);
    if (link !== undefined) await Promise.race([link.drained(), setTimeout(TAIL_MS, undefined, { ref: false })]);
    link?.close();
    await stdio?.drained();
    return status;
  } finally {
    for (const signal of Object.keys(FORWARDED)) process.off(signal, forward);
    launch.release();
    stdio?.close();
  }
}

function showTerminal(master: number, caller: Caller, onLost: () => void): ConsoleLink {
  const output = new MasterReader(master);
  const link = new ConsoleLink({ caller, output, input: true, onEscape: () => undefined, onLost });
  link.connect(master);
  return link;
}
