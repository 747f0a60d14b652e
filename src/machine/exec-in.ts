import { closeSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import { readExitRecord } from "../exec/exit-record.ts";
import { Launch } from "../exec/launch.ts";
import { loadFilter } from "../exec/seccomp-filter.ts";
import { parseMemberships } from "../host/cgroups.ts";
import { stagePath } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { candidatesFor } from "../plan/execute.ts";
import { buildJoin } from "../plan/join.ts";
import { type Caller, ConsoleLink } from "../supervise/console.ts";
import { MasterReader } from "../supervise/master-reader.ts";
import { ARCH } from "../sys/libc.ts";
import { whenReadable } from "../sys/poll.ts";
import { pidfdSendSignal } from "../sys/processes.ts";
import { pipe } from "../sys/sockets.ts";
import { callerStdio } from "./caller-stdio.ts";
import { exitStatusOf, outcomeOf } from "./exit-status.ts";
import { type MachineRecord, readPlan } from "./record.ts";

export interface ExecRequest {
  readonly argv: readonly string[];
  /** What PATH finds for argv[0], or other programs to try. */
  readonly candidates?: readonly string[];
  /** On a terminal of the machine's own; otherwise the caller's stdio is passed on. */
  readonly terminal: boolean;
  readonly caller: Caller;
  readonly env: NodeJS.ProcessEnv;
}

const FORWARDED = { SIGTERM: 15, SIGINT: 2, SIGHUP: 1, SIGQUIT: 3 } as const;

/** Runs a command in a running machine as its root. Returns the command's exit status, 128+N when signal N killed it. */
export async function execIn(machine: MachineRecord, request: ExecRequest, paths: Paths): Promise<number> {
  const stdio = request.terminal ? undefined : callerStdio(request.caller);
  const [lifeline, held] = pipe();
  const launch = new Launch(joinPlan(machine, request, paths), {
    stage: stagePath(ARCH),
    arch: ARCH,
    fds: new Map([["lifeline", lifeline], ...(stdio?.fds ?? [])]),
    loadFilter: (policy) => loadFilter(policy, paths.cache),
  });
  const forward = (signal: NodeJS.Signals): void => {
    pidfdSendSignal(launch.fd("leader"), FORWARDED[signal as keyof typeof FORWARDED]);
  };
  try {
    await launch.run();
    for (const signal of Object.keys(FORWARDED)) process.on(signal, forward);
    const link = request.terminal ? showTerminal(launch.fd("terminal"), request.caller) : undefined;
    await whenReadable(launch.keeper);
    // What it left running in the background may hold the terminal open: what is there now is shown, no more is waited for.
    await Promise.race([link?.drained(), setTimeout(100, undefined, { ref: false })]);
    const outcome = outcomeOf(readExitRecord(launch.fd("record")));
    launch.reapKeeper();
    link?.close();
    await stdio?.drained();
    // A signal that ends a command is no reboot.
    if (outcome.kind === "reboot") return 128 + 1;
    return outcome.kind === "poweroff" ? 128 + 2 : exitStatusOf(outcome);
  } finally {
    for (const signal of Object.keys(FORWARDED)) process.off(signal, forward);
    launch.release();
    stdio?.close();
    closeSync(held);
  }
}

function showTerminal(master: number, caller: Caller): ConsoleLink {
  const link = new ConsoleLink({ caller, output: new MasterReader(master), input: true, onEscape: () => undefined });
  link.connect(master);
  return link;
}

function joinPlan(machine: MachineRecord, request: ExecRequest, paths: Paths) {
  const plan = readPlan(machine.name, paths);
  const { pid, startTime } = machine.leader;
  const own = parseMemberships(readFileSync(`/proc/${pid}/cgroup`, "utf8")).find(({ hierarchy }) => hierarchy === 0);
  const mount = machine.cgroupMount;
  if (own === undefined) throw new BerthError(`machine ${machine.name} is in no cgroup`);
  const term = request.terminal ? (request.env["TERM"] ?? "xterm") : undefined;
  return buildJoin(
    { machine: machine.name, pid, startTime, cgroup: join(mount, own.path), plan },
    {
      argv: request.argv,
      candidates: request.candidates ?? candidatesFor(request.argv[0] ?? ""),
      environment: [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "USER=root",
        "LOGNAME=root",
        "container=berth",
        ...(term === undefined ? [] : [`TERM=${term}`]),
      ],
      directory: "/",
      stdio: request.terminal ? "terminal" : "caller",
    },
  );
}
