import type { Launch } from "../exec/launch.ts";
import type { Paths } from "../host/paths.ts";
import type { ProcessCaller } from "../supervise/caller.ts";
import { ConsoleLink } from "../supervise/console.ts";
import { FdReader } from "../supervise/fd-reader.ts";
import { onStopSignals, STOP_SIGNALS, type StopSignal } from "../supervise/stop-signals.ts";
import { closeQuietly, openNull } from "../sys/files.ts";
import { pidfdSendSignal } from "../sys/processes.ts";
import { makeRaw } from "../sys/terminal.ts";
import { CallerStdio } from "./caller-stdio.ts";
import { abortedBy } from "./foreground-stop.ts";
import { joinedStatus, joinMachine } from "./join.ts";
import type { MachineRecord } from "./record.ts";

export interface ExecRequest {
  /** Empty: a login shell. */
  readonly argv: readonly string[];
  /** Of the machine, by name or number; undefined: root. */
  readonly user?: string | undefined;
  /** `NAME=VALUE`, on top of what a login has. */
  readonly environment?: readonly string[];
  /** Where it begins, which has to be there; undefined: the user's home, or `/`. */
  readonly directory?: string | undefined;
  /** On a terminal of the machine's own; otherwise the caller's stdio is passed on. */
  readonly terminal: boolean;
  /** That is raw, for a program that makes another one inside; what that shows when it takes what is typed. */
  readonly begins?: Buffer | undefined;
  readonly caller: ProcessCaller;
  readonly env: NodeJS.ProcessEnv;
}

const SIGKILL = 9;
/** A job left in the background may hold the output open: what it says so long after the command is not waited for. */
const TAIL_MS = 100;
/** How long a command may go on when ^] has taken its terminal away. */
const HANGUP_MS = 2000;

/** Runs a command in a running machine as its root or another user. Returns the command's exit status, 128+N when signal N killed it. */
export async function execIn(machine: MachineRecord, request: ExecRequest, paths: Paths): Promise<number> {
  const command = new JoinedCommand(machine, request, paths);
  const release = onStopSignals((signal) => command.signal(signal));
  try {
    return await command.run();
  } finally {
    await command.close();
    release();
  }
}

class JoinedCommand {
  readonly #caller: ProcessCaller;
  readonly #launch: Launch;
  readonly #stdio: CallerStdio | undefined;
  readonly #begins: Buffer | undefined;
  #link: ConsoleLink | undefined;
  #state: "launching" | "running" | "ended" | "gone" = "launching";
  #signalled = false;
  #killer: NodeJS.Timeout | undefined;

  constructor(machine: MachineRecord, request: ExecRequest, paths: Paths) {
    const { argv, user, terminal, caller, env, environment = [], directory } = request;
    this.#caller = caller;
    this.#begins = request.begins;
    this.#stdio = terminal ? undefined : new CallerStdio(caller);
    const fds = this.#stdio?.fds ?? new Map<string, number>();
    const term = terminal ? (env["TERM"] ?? "xterm") : undefined;
    const { size } = caller.terminal;
    this.#launch = joinMachine(machine, { argv, user, environment, directory, term, size, fds }, paths);
  }

  async run(): Promise<number> {
    await this.#launch.run();
    this.#state = "running";
    const output = this.#connect();
    const status = await joinedStatus(this.#launch);
    this.#state = "ended";
    if (this.#signalled) this.#caller.hurry();
    output.endSoon(TAIL_MS);
    await output.drained();
    return status;
  }

  /** It is for the command; who has none any more means us. */
  signal(signal: StopSignal): void {
    this.#signalled = true;
    if (this.#state === "launching")
      this.#launch.abort(abortedBy(signal, `entering machine ${this.#launch.plan.machine}`));
    if (this.#state === "running") pidfdSendSignal(this.#launch.fds.get("leader"), STOP_SIGNALS[signal]);
    if (this.#state === "ended") this.#caller.giveUp();
  }

  async close(): Promise<void> {
    clearTimeout(this.#killer);
    this.#link?.close();
    this.#stdio?.close();
    if (this.#state === "running") {
      // What went wrong was ours: nothing is left of the command either.
      pidfdSendSignal(this.#launch.fds.get("leader"), SIGKILL);
      await this.#launch.keeperEnd();
    }
    this.#state = "gone";
    this.#launch.release();
    this.#caller.close();
  }

  #connect(): { endSoon(grace: number): void; drained(): Promise<void> } {
    if (this.#stdio !== undefined) {
      this.#stdio.start();
      return this.#stdio;
    }
    const master = this.#launch.fds.get("terminal");
    if (this.#begins !== undefined) makeRaw(master);
    const reader = new FdReader(master, false);
    const link = new ConsoleLink({
      caller: this.#caller,
      output: reader,
      input: true,
      typesEnd: true,
      begins: this.#begins,
      onEscape: () => {
        this.#hangUp();
        this.#killer = setTimeout(() => pidfdSendSignal(this.#launch.fds.get("leader"), SIGKILL), HANGUP_MS);
      },
      onLost: () => this.#hangUp(),
    });
    this.#link = link;
    link.connect(master);
    return { endSoon: (grace) => reader.endSoon(grace), drained: () => link.drained() };
  }

  /** As when the window of a terminal is closed: SIGHUP to its session's leader and its foreground (tty_ioctl(4)). */
  #hangUp(): void {
    if (this.#state !== "running") return;
    this.#link?.close();
    const { fds } = this.#launch;
    const master = fds.get("terminal");
    fds.name("terminal", openNull());
    closeQuietly(master);
  }
}
