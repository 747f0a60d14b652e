import { Socket } from "node:net";
import { join } from "node:path";
import { killCgroup, ranOutOfMemory } from "../exec/cgroup.ts";
import { Launch } from "../exec/launch.ts";
import { filterFor } from "../exec/seccomp-filter.ts";
import { stagePath } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { processId } from "../host/process-id.ts";
import { cgroupPath } from "../plan/cgroup.ts";
import { idRange, type PlanInput, type PlanRequest } from "../plan/input.ts";
import { weaknesses } from "../spec/weaknesses.ts";
import { type Caller, ConsoleLink, sizeOf } from "../supervise/console.ts";
import { watchNotifications } from "../supervise/notify.ts";
import { handlesSignal, stopSignal } from "../supervise/shutdown.ts";
import { SOCK_STREAM } from "../sys/constants.ts";
import { pidfdSendSignal } from "../sys/processes.ts";
import { socketPair } from "../sys/sockets.ts";
import { callerStdio } from "./caller-stdio.ts";
import { exitStatusOf, type Outcome, outcomeOf } from "./exit-status.ts";
import type { Prepared } from "./prepare.ts";
import { type MachineRecord, writePlan, writeRecord } from "./record.ts";
import { sweep } from "./sweep.ts";

export type ForegroundConsole = "interactive" | "read-only" | "passive" | "pipe";

export interface ForegroundOptions {
  readonly paths: Paths;
  readonly caller: Caller;
  readonly console: ForegroundConsole;
  readonly env: NodeJS.ProcessEnv;
  /** For the user: what happens, one line each. */
  readonly say: (line: string) => void;
}

const SIGKILL = 9;
const STOP_TIMEOUT_MS = 90_000;
const STOP_SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;
const SIGNAL_NUMBERS: Readonly<Record<(typeof STOP_SIGNALS)[number], number>> = {
  SIGTERM: 15,
  SIGINT: 2,
  SIGHUP: 1,
  SIGQUIT: 3,
};

/** Runs a machine until it has ended, through its reboots. Returns the exit status of `berth run`. */
export async function runForeground(prepared: Prepared, options: ForegroundOptions): Promise<number> {
  const { name } = prepared.spec;
  sweep(options.paths);
  let boot = new ForegroundBoot(prepared, options);
  let outcome = await boot.run();
  while (outcome.kind === "reboot" && !boot.stopping) {
    options.say(`machine ${name} reboots`);
    boot = new ForegroundBoot(prepared, options);
    outcome = await boot.run();
  }
  return exitStatusOf(outcome);
}

/** One boot of a machine: from launch to the end of its init. */
class ForegroundBoot {
  readonly #prepared: Prepared;
  readonly #options: ForegroundOptions;
  readonly #input: PlanInput;
  readonly #launch: Launch;
  readonly #link: ConsoleLink | undefined;
  readonly #stdio: ReturnType<typeof callerStdio> | undefined;
  readonly #onSignal = (signal: NodeJS.Signals): void => this.#stop(signal);
  #record: MachineRecord | undefined;
  #recorded = false;
  #stopping = false;
  #aborted: NodeJS.Signals | undefined;
  #killer: NodeJS.Timeout | undefined;

  constructor(prepared: Prepared, options: ForegroundOptions) {
    this.#prepared = prepared;
    this.#options = options;
    const { plan, input } = prepared.plan(requestOf(options));
    this.#input = input;
    const fds = new Map<string, number>();
    if (options.console === "interactive" || options.console === "read-only") {
      const [output, mirror] = socketPair(SOCK_STREAM);
      fds.set("mirror", mirror);
      this.#link = new ConsoleLink({
        caller: options.caller,
        output: new Socket({ fd: output, readable: true, writable: false }),
        input: options.console === "interactive",
        onEscape: () => this.#kill("^] was typed three times"),
        onLost: () => this.#stop("SIGHUP"),
      });
    } else if (options.console === "pipe") {
      this.#stdio = callerStdio(options.caller);
      for (const [name, fd] of this.#stdio.fds) fds.set(name, fd);
    }
    const { arch } = prepared.host;
    this.#launch = new Launch(plan, {
      stage: stagePath(arch),
      arch,
      fds,
      loadFilter: (policy) => filterFor(policy, options.paths.cache),
    });
  }

  /** It has been told to stop: whatever its init makes of that, it is not to come back. */
  get stopping(): boolean {
    return this.#stopping;
  }

  async run(): Promise<Outcome> {
    for (const signal of STOP_SIGNALS) process.on(signal, this.#onSignal);
    try {
      await this.#launch.run();
      this.#writeRecord();
      if (this.#aborted !== undefined) this.#kill(`${this.#aborted} came during its launch`);
      const notified = this.#hearInit();
      this.#link?.connect(this.#launch.fds.get("console"));
      const outcome = outcomeOf(await this.#launch.exit());
      notified();
      this.#explain(outcome);
      await this.#link?.drained();
      await this.#stdio?.drained();
      await this.#launch.keeperEnd();
      this.#launch.release(false, outcome.kind === "reboot" && !this.#stopping);
      return outcome;
    } finally {
      clearTimeout(this.#killer);
      for (const signal of STOP_SIGNALS) process.off(signal, this.#onSignal);
      this.#link?.close();
      this.#stdio?.close();
    }
  }

  #explain(outcome: Outcome): void {
    if (outcome.kind !== "killed") return;
    const { name } = this.#prepared.spec;
    const cgroup = cgroupPath(this.#input);
    const why = ranOutOfMemory(cgroup) ? `: out of memory, see ${cgroup}/memory.max` : "";
    this.#options.say(`machine ${name}: its PID 1 was killed by signal ${outcome.signal}${why}`);
  }

  #writeRecord(): void {
    const { spec, host } = this.#prepared;
    const { machine } = this.#input;
    const ready = !spec.notifyReady.value;
    this.#record = {
      version: 1,
      name: spec.name,
      state: ready ? "running" : "starting",
      ready,
      status: null,
      bootId: host.bootId,
      leader: processId(this.#launch.leaderPid),
      keeper: processId(this.#launch.keeperPid),
      supervisor: processId(process.pid),
      cgroup: cgroupPath(this.#input),
      cgroupMount: host.cgroup.mount ?? "",
      unit: null,
      root: spec.root.value,
      layer: spec.ephemeral.value ? this.#input.places.layer : null,
      os: machine.tree.osRelease?.["ID"] ?? null,
      osVersion: machine.tree.osRelease?.["VERSION_ID"] ?? null,
      killSignal: stopSignal(spec.killSignal.value, spec.boot.value ? machine.tree.init?.kind : undefined),
      uidShift: idRange(this.#input)?.base ?? null,
      weaknesses: weaknesses(spec).map(({ what }) => what),
      times: {
        began: this.#launch.began,
        executed: this.#launch.executed,
        executedMonotonic: this.#launch.executedMonotonic,
        ready: ready ? this.#launch.executed : null,
      },
    };
    this.#update({});
  }

  /** News for other commands. A disk that is full costs them the news, never the machine its supervisor. */
  #update(change: Partial<MachineRecord>): void {
    if (this.#record === undefined) return;
    this.#record = { ...this.#record, ...change };
    const { record } = this.#input.places;
    try {
      if (!this.#recorded) writePlan(record, this.#launch.plan); // first: who finds the record finds the plan
      this.#recorded = true;
      writeRecord(record, this.#record);
    } catch (error) {
      this.#options.say(`the record of machine ${this.#record.name} is out of date: ${(error as Error).message}`);
    }
  }

  #hearInit(): () => void {
    return watchNotifications(this.#launch.fds.get("notify-socket"), this.#launch.leaderPid, (notification) => {
      const record = this.#record;
      if (record === undefined) return;
      const becameReady = notification.ready && record.times.ready === null;
      this.#update({
        ...(notification.status === undefined ? {} : { status: notification.status }),
        ...(notification.stopping ? { state: "stopping" as const } : {}),
        ...(becameReady
          ? { ready: true, state: "running" as const, times: { ...record.times, ready: Date.now() } }
          : {}),
      });
    });
  }

  /** The first signal asks the machine to stop, the next one ends it. */
  #stop(signal: NodeJS.Signals): void {
    const { spec } = this.#prepared;
    const record = this.#record;
    if (record === undefined) {
      this.#aborted = signal; // still being launched
      return;
    }
    const asked = spec.boot.value || spec.killSignal.value !== undefined;
    const number = asked ? record.killSignal : SIGNAL_NUMBERS[signal as keyof typeof SIGNAL_NUMBERS];
    if (this.#stopping) {
      // A terminal that goes away says so more than once.
      if (signal !== "SIGHUP") this.#kill(`${signal} came again`);
    } else if (!handlesSignal(record.leader.pid, number)) this.#kill("its PID 1 does not handle the signal");
    else this.#ask(number);
    this.#stopping = true;
  }

  #ask(signal: number): void {
    this.#options.say(`stopping machine ${this.#prepared.spec.name} (once more: kill it)`);
    this.#update({ state: "stopping" });
    pidfdSendSignal(this.#launch.fds.get("leader"), signal);
    this.#killer = setTimeout(() => this.#kill(`it did not stop within ${STOP_TIMEOUT_MS / 1000} s`), STOP_TIMEOUT_MS);
  }

  #kill(why: string): void {
    this.#options.say(`killing machine ${this.#prepared.spec.name}: ${why}`);
    if (this.#record === undefined) return;
    killCgroup(join(this.#record.cgroup, "payload"));
    pidfdSendSignal(this.#launch.fds.get("leader"), SIGKILL);
  }
}

function requestOf(options: ForegroundOptions): PlanRequest {
  const size = options.console === "pipe" ? undefined : sizeOf(options.caller);
  return {
    foreground: true,
    stdio: options.console === "pipe" ? "caller" : "console",
    term: options.console === "interactive" ? (options.env["TERM"] ?? null) : null,
    ...(size === undefined ? {} : { size }),
  };
}
