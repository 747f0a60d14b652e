import { ranOutOfMemory } from "../exec/cgroup.ts";
import { Launch } from "../exec/launch.ts";
import { filterFor } from "../exec/seccomp-filter.ts";
import { stagePath } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { cgroupPath } from "../plan/cgroup.ts";
import type { PlanInput, PlanRequest } from "../plan/input.ts";
import { rootKind } from "../spec/root-kind.ts";
import { signalName } from "../spec/signals.ts";
import type { ProcessCaller } from "../supervise/caller.ts";
import { ConsoleLink } from "../supervise/console.ts";
import { consoleTail } from "../supervise/console-log.ts";
import { FdReader } from "../supervise/fd-reader.ts";
import type { StopSignal } from "../supervise/stop-signals.ts";
import { SOCK_STREAM } from "../sys/constants.ts";
import { socketPair } from "../sys/sockets.ts";
import { BootWatch } from "./boot-watch.ts";
import { CallerStdio } from "./caller-stdio.ts";
import { type ConsoleWriter, takeConsole } from "./console-master.ts";
import { type Outcome, outcomeOf } from "./exit-status.ts";
import { abortedBy, ForegroundStop, killMachineNow } from "./foreground-stop.ts";
import { archiveBoot } from "./history.ts";
import { LiveRecord } from "./live-record.ts";
import type { Planned, Prepared } from "./prepare.ts";

export type ForegroundConsole = "interactive" | "read-only" | "passive" | "pipe";

export interface ForegroundOptions {
  readonly paths: Paths;
  readonly caller: ProcessCaller;
  readonly console: ForegroundConsole;
  readonly env: NodeJS.ProcessEnv;
  /** By id. */
  readonly credentials: ReadonlyMap<string, Buffer>;
  /** For the user: what happens, one line each. */
  readonly say: (line: string) => void;
}

const TAIL_LINES = 10;

/** One boot of a machine: from launch to the end of its init. */
export class ForegroundBoot {
  readonly #prepared: Prepared;
  readonly #options: ForegroundOptions;
  readonly #input: PlanInput;
  readonly #launch: Launch;
  readonly #link: ConsoleLink | undefined;
  readonly #stdio: CallerStdio | undefined;
  #stop: ForegroundStop | undefined;
  #watch: BootWatch | undefined;
  /** It is typed on here, and nowhere else. */
  #writer: ConsoleWriter | number | undefined;
  #stopping = false;

  /** Nothing has been made yet. */
  constructor(prepared: Prepared, { plan, input }: Planned, options: ForegroundOptions) {
    this.#prepared = prepared;
    this.#options = options;
    this.#input = input;
    const { arch } = prepared.host;
    const fds = new Map<string, number>();
    if (options.console === "pipe") {
      this.#stdio = new CallerStdio(options.caller);
      for (const [name, fd] of this.#stdio.fds) fds.set(name, fd);
    } else if (options.console !== "passive") {
      const [output, mirror] = socketPair(SOCK_STREAM);
      fds.set("mirror", mirror);
      this.#link = this.#linkTo(output);
    }
    const loadFilter = (policy: Parameters<typeof filterFor>[0]): Buffer => filterFor(policy, options.paths.cache);
    this.#launch = new Launch(plan, {
      stage: stagePath(arch),
      arch,
      fds,
      loadFilter,
      credentials: options.credentials,
      say: options.say,
      ...(isKept(prepared) ? { onRelease: (record) => archiveBoot(record, prepared.spec.name, options.paths) } : {}),
    });
  }

  /** It has been told to stop: whatever its init makes of that, it is not to come back. */
  get stopping(): boolean {
    return this.#stopping;
  }

  /**
   * Resolves when nothing of the boot is left, whatever comes of it. Before a machine is let go to boot again it goes
   * through `beforeReboot`: until then its name is taken, and what it changed is known to be its own.
   */
  async run(beforeReboot: () => Promise<void>): Promise<Outcome> {
    let running = false;
    try {
      await this.#launch.run();
      running = true;
      const outcome = await this.#supervise();
      running = false;
      if (outcome.kind === "reboot" && !this.#stopping) await beforeReboot();
      this.#disconnect();
      this.#launch.release(false, outcome.kind === "reboot" && !this.#stopping);
      return outcome;
    } finally {
      this.#disconnect();
      if (running) await this.#abandon();
    }
  }

  /** A signal that asks berth to end came. */
  stop(signal: StopSignal): void {
    this.#stopping = true;
    if (this.#stop === undefined) {
      this.#launch.abort(abortedBy(signal, `the start of machine ${this.#prepared.spec.name}`));
      return;
    }
    const { caller } = this.#options;
    if (this.#stop.ended || this.#stop.request(signal)) caller.giveUp();
    else caller.hurry();
  }

  async #supervise(): Promise<Outcome> {
    const { fds } = this.#launch;
    const { spec } = this.#prepared;
    const { say } = this.#options;
    const record = LiveRecord.ofLaunch(
      this.#prepared,
      this.#input,
      this.#launch,
      { managed: false, saysReady: spec.notifyReady.value },
      { say },
    );
    this.#stop = new ForegroundStop({
      machine: record.current,
      leader: fds.get("leader"),
      paths: this.#options.paths,
      ownWay: spec.boot.value || spec.killSignal.value !== undefined,
      say,
      onAsked: () => record.update({ state: "stopping" }),
    });
    this.#watch = new BootWatch(this.#launch, record, spec.notifyReady.value);
    if (this.#options.console === "interactive") this.#writer = takeConsole(this.#input.places.record);
    this.#link?.connect(fds.get("console"));
    this.#stdio?.start();
    const outcome = outcomeOf(await this.#launch.exit());
    await this.#stop.settled();
    if (outcome.kind === "reboot" && !this.#stopping) record.update({ state: "rebooting", ready: false, status: null });
    this.#explain(outcome);
    await this.#link?.drained();
    await this.#stdio?.drained();
    await this.#launch.keeperEnd();
    return outcome;
  }

  #kill(why: string): void {
    this.#stopping = true;
    this.#stop?.kill(why);
    this.#options.caller.hurry();
  }

  #explain(outcome: Outcome): void {
    const { say, console } = this.#options;
    const { name } = this.#prepared.spec;
    // Who started it in the background sees neither its exit status nor its console.
    const unseen = console === "passive" && !this.#stopping;
    if (outcome.kind === "killed") {
      const cgroup = cgroupPath(this.#input);
      const why = ranOutOfMemory(cgroup) ? `: out of memory, see ${cgroup}/memory.max` : "";
      say(`machine ${name}: its PID 1 was killed by ${signalName(outcome.signal)}${why}`);
    } else if (unseen && outcome.kind === "exited")
      say(`machine ${name}: its PID 1 exited with status ${outcome.status}`);
    else return;
    if (unseen) for (const line of consoleTail(this.#input.places.record, TAIL_LINES)) say(`console: ${line}`);
  }

  /** What the machine has of ours. */
  #disconnect(): void {
    this.#stop?.close();
    this.#watch?.close();
    this.#link?.close();
    this.#stdio?.close();
    if (typeof this.#writer === "object") this.#writer.close();
    this.#writer = undefined;
  }

  /** After a failure of ours: nobody is left to supervise the machine, so it ends. */
  async #abandon(): Promise<void> {
    try {
      killMachineNow({ cgroup: cgroupPath(this.#input) }, this.#launch.fds.get("leader"));
      await this.#launch.keeperEnd();
    } finally {
      this.#launch.release();
    }
  }

  #linkTo(output: number): ConsoleLink {
    const { caller, console } = this.#options;
    return new ConsoleLink({
      caller,
      output: new FdReader(output, true),
      input: console === "interactive",
      onEscape: () => this.#kill("^] was typed three times"),
      onLost: () => this.stop("SIGHUP"),
    });
  }
}

/** A throw-away machine leaves nothing, and a command is no boot. */
function isKept({ spec }: Prepared): boolean {
  return spec.boot.value && rootKind(spec) !== "layer";
}

export function requestOf({ console, caller, env }: ForegroundOptions): PlanRequest {
  const { size } = caller.terminal;
  return {
    foreground: true,
    stdio: console === "pipe" ? "caller" : "console",
    term: console === "interactive" ? (env["TERM"] ?? null) : null,
    ...(console === "pipe" || size === undefined ? {} : { size }),
  };
}
