import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import { emptyCgroup, ranOutOfMemory } from "../exec/cgroup.ts";
import type { Launch } from "../exec/launch.ts";
import { askInit } from "../machine/ask-init.ts";
import { freeze, isFrozen } from "../machine/freeze.ts";
import type { RecordListener } from "../machine/live-record.ts";
import { recordsDirectory } from "../machine/places.ts";
import { RebootPause } from "../machine/reboot-pause.ts";
import type { MachineRecord } from "../machine/record.ts";
import { quote } from "../spec/quote.ts";
import { consoleTail } from "../supervise/console-log.ts";
import { monotonic } from "../sys/clock.ts";
import { Change } from "./change.ts";
import type { ManagedBoot } from "./managed-boot.ts";
import { powerOffWithin } from "./power-off.ts";
import { afterEnd, type End } from "./restart.ts";
import type { Failure } from "./state-file.ts";
import type { Surroundings } from "./surroundings.ts";
import { type StartCaller, whenReady } from "./when-ready.ts";

/** A machine over all its boots: started, rebooted, restarted where that is wanted, stopped. */
export class ManagedMachine {
  readonly name: string;
  readonly #with: Surroundings;
  readonly #change = new Change();
  #boot: ManagedBoot | undefined;
  #launch: Launch | undefined;
  /** It is to end, and to stay so. */
  #onPurpose = false;
  #killed = false;
  /** What it is killed for, where that is a failure. */
  #verdict: BerthError | undefined;
  #failure: Failure | null = null;
  #restarts = 0;
  /** On CLOCK_MONOTONIC, ms, since it was started by command. */
  #starts: number[] = [];
  /** Ends the wait before a restart. */
  #wait = new AbortController();
  /** From a start until the machine has stopped or failed. */
  #life: Promise<void> | undefined;
  #tail: readonly string[] = [];

  constructor(name: string, surroundings: Surroundings, failure: Failure | null = null) {
    this.name = name;
    this.#with = surroundings;
    this.#failure = failure;
  }

  /** The boot that runs. */
  get boot(): ManagedBoot | undefined {
    return this.#boot;
  }

  get record(): MachineRecord | undefined {
    return this.#boot?.current;
  }

  get failure(): Failure | null {
    return this.#failure;
  }

  /** Its last lines on the console, of the boot that ended last. */
  get tail(): readonly string[] {
    return this.#tail;
  }

  get restarts(): number {
    return this.#restarts;
  }

  get stopping(): boolean {
    return this.alive && this.#onPurpose;
  }

  /** From a start to the end of it all: also when nothing of it runs just now, because it is launched or waits to be. */
  get alive(): boolean {
    return this.#life !== undefined;
  }

  // ---- what it is told to do ----

  /** Boots it, and resolves when it is ready. A start that fails, takes too long or is given up leaves nothing. */
  async start(caller: StartCaller): Promise<void> {
    await this.#with.operations.run(this.name, "start", async () => {
      if (this.alive) throw isAlive(this.name, this.#onPurpose);
      this.#forget();
      const giveUp = (): void => this.#giveUp(caller.signal.reason as BerthError);
      caller.signal.addEventListener("abort", giveUp);
      try {
        await this.#begin(caller);
      } finally {
        caller.signal.removeEventListener("abort", giveUp);
      }
    });
    await whenReady(this, caller);
  }

  /** Takes over a boot that an earlier daemon has launched, and which is made with what its record tells. */
  adopt(make: (listener: RecordListener) => ManagedBoot, restarts: number): void {
    this.#restarts = restarts;
    this.#starts.push(monotonic());
    this.#live(() =>
      this.#through(make({ say: (line) => this.#with.log("warn", this.name, line), onChange: () => this.#changed() })),
    );
  }

  /** Goes on where an earlier daemon was interrupted, which did not see to what comes after this end. */
  resume(end: End, restarts: number, tail: readonly string[]): void {
    this.#restarts = restarts;
    this.#tail = tail;
    this.#starts.push(monotonic());
    this.#live(() => Promise.resolve(end));
  }

  /** Asks its init to power off, and resolves when the machine has ended. One that takes longer than `timeout` ms is killed. */
  powerOff(timeout: number): Promise<void> {
    return powerOffWithin(timeout, {
      name: this.name,
      ask: () => this.askPowerOff(),
      ended: () => this.ended,
      kill: async () => {
        if (this.alive) await this.terminate();
      },
    });
  }

  /** The same, without waiting for that. */
  async askPowerOff(): Promise<void> {
    if (!this.alive) throw isDead(this.name);
    this.#giveUp();
    if (this.#boot === undefined) return;
    try {
      await ask(this.#boot, "poweroff", this.#with);
      this.#boot?.record.update({ state: "stopping" });
    } catch (error) {
      if (!this.#killed) this.#goOn(); // it was not told
      throw error;
    }
  }

  /** Asks its init to reboot; does not wait for that. */
  async reboot(): Promise<void> {
    if (this.#boot === undefined) throw this.alive ? isBetween(this.name) : isDead(this.name);
    await ask(this.#boot, "reboot", this.#with);
  }

  /** Kills all of it, whatever it is doing, and resolves when nothing is left. `verdict`: why it has failed by that. */
  async terminate(verdict?: BerthError): Promise<void> {
    if (!this.alive) throw isDead(this.name);
    this.#killed = true;
    this.#verdict ??= verdict;
    this.#giveUp();
    this.#boot?.kill();
    await this.#life;
  }

  /** Resolves when something is true of it, which is looked at whenever it changes. */
  async until(isTrue: () => boolean, signal: AbortSignal): Promise<void> {
    while (!isTrue()) await this.#change.next(signal);
  }

  /** Nothing of it boots any more, and what is about to does not. */
  #giveUp(reason = new BerthError(`the start of machine ${this.name} was given up`)): void {
    this.#onPurpose = true;
    this.#wait.abort();
    this.#launch?.abort(reason);
  }

  #goOn(): void {
    this.#onPurpose = false;
    this.#wait = new AbortController();
  }

  // ---- its life ----

  #forget(): void {
    this.#goOn();
    [this.#killed, this.#verdict, this.#failure, this.#restarts] = [false, undefined, null, 0];
    [this.#starts, this.#tail] = [[], []];
  }

  /** Resolves when it runs. */
  async #begin(caller: StartCaller): Promise<void> {
    const booted = Promise.withResolvers<void>();
    this.#live(async () => {
      try {
        const boot = await this.#bootUp(false, caller.say);
        booted.resolve();
        return await this.#through(boot);
      } catch (error) {
        this.#over(this.#onPurpose ? null : asFailure(error, []));
        booted.reject(error);
        return undefined;
      }
    });
    await booted.promise;
  }

  /** From an end of a boot on through as many more as there are. */
  #live(first: () => Promise<End | undefined>): void {
    const pause = new RebootPause();
    const all = async (): Promise<void> => {
      for (let end: End | undefined = await first(); end !== undefined; ) {
        const boot = await this.#another(end, pause);
        end = boot && (await this.#through(boot));
      }
    };
    const life = Promise.withResolvers<void>();
    this.#life = life.promise; // from before anything of it is told to anybody
    void all()
      .catch((error: Error) => this.#with.log("error", this.name, `supervising it failed: ${error.message}`))
      .finally(() => {
        this.#life = undefined;
        life.resolve();
        this.#changed();
      });
  }

  /** The next boot; undefined: there is none, and it is said why. */
  async #another(end: End, pause: RebootPause): Promise<ManagedBoot | undefined> {
    for (let last = end; ; ) {
      const rebooting = last.kind === "reboot" && !this.#onPurpose;
      if (rebooting) await this.#hold(pause);
      else if (!(await this.#mayRestart(last))) return undefined;
      try {
        pause.booting();
        return await this.#bootUp(rebooting, (line) => this.#with.log("warn", this.name, line));
      } catch (error) {
        last = { kind: "not started", error: (error as Error).message };
      }
    }
  }

  /** One that reboots as soon as it is up waits, longer each time. */
  async #hold(pause: RebootPause): Promise<void> {
    this.#save(true);
    await pause.rebooting(
      () => this.#onPurpose,
      (seconds) => this.#with.log("warn", this.name, `was hardly up: it waits for ${seconds} s`),
    );
  }

  async #mayRestart(end: End): Promise<boolean> {
    const next = afterEnd(end, this.#onPurpose, this.#with.launcher.policyOf(this.name), this.#starts, monotonic());
    if (next.kind !== "restart") {
      this.#over(next.kind === "failed" ? asFailure(new BerthError(next.reason), this.#tail) : null);
      return false;
    }
    this.#restarts++;
    this.#save(true);
    this.#with.log("warn", this.name, `is started again in ${next.delay / 1000} s: ${next.why}`);
    await sleep(next.delay, undefined, { signal: this.#wait.signal }).catch(() => undefined);
    if (!this.#onPurpose) return true;
    this.#over(null);
    return false;
  }

  async #bootUp(rebooting: boolean, say: (line: string) => void): Promise<ManagedBoot> {
    this.#starts.push(monotonic());
    const boot = await this.#with.launcher.launch(this.name, rebooting, {
      say,
      onLaunch: (launch) => {
        this.#launch = launch;
        if (this.#onPurpose) this.#giveUp();
      },
      onChange: () => this.#changed(),
    });
    // The last moment that it could not be aborted any more.
    if (this.#onPurpose) boot.kill();
    return boot;
  }

  /** One boot, to the end of it. */
  async #through(boot: ManagedBoot): Promise<End> {
    this.#boot = boot;
    this.#with.files.remove(this.name);
    this.#changed();
    const outcome = await boot.ended();
    const rebooting = outcome.kind === "reboot" && !this.#onPurpose;
    this.#tail = consoleTail(join(recordsDirectory(this.#with.paths), this.name));
    const end: End =
      outcome.kind === "killed" ? { ...outcome, outOfMemory: ranOutOfMemory(boot.current.cgroup) } : outcome;
    await emptyCgroup(join(boot.current.cgroup, "payload"));
    this.#boot = undefined;
    try {
      boot.release(rebooting);
    } catch (error) {
      this.#with.log("error", this.name, `what is left of it could not be cleaned up: ${(error as Error).message}`);
    }
    return end;
  }

  #over(ended: Failure | null): void {
    const failure = this.#verdict === undefined ? ended : asFailure(this.#verdict, this.#tail);
    this.#failure = failure;
    if (failure === null) this.#with.files.remove(this.name);
    else this.#save(false);
    if (failure !== null) this.#with.log("error", this.name, `has failed: ${failure.reason}`);
  }

  /** For the next daemon. A disk that is full costs that, never the machine. `wanted`: it is about to boot. */
  #save(wanted: boolean): void {
    const { files, bootId, log } = this.#with;
    try {
      files.write({ name: this.name, wanted, restarts: this.#restarts, failure: this.#failure, bootId });
    } catch (error) {
      log("error", this.name, `its state could not be written: ${(error as Error).message}`);
    }
  }

  #changed(): void {
    this.#change.fire();
    this.#with.onChange(this.name);
  }

  /** Resolves when nothing of it runs, nor is about to. */
  get ended(): Promise<void> {
    return this.#life ?? Promise.resolve();
  }
}

/** One that is frozen could not hear it. */
async function ask(boot: ManagedBoot, wish: "poweroff" | "reboot", { paths }: Surroundings): Promise<void> {
  if (isFrozen(boot.current)) await freeze(boot.current, false);
  await askInit(boot.current, wish, paths);
}

function asFailure(error: unknown, console: readonly string[]): Failure {
  const hint = error instanceof BerthError ? (error.hint ?? null) : null;
  return { reason: error instanceof Error ? error.message : String(error), hint, console, time: Date.now() };
}

function isAlive(name: string, stopping: boolean): BerthError {
  return stopping
    ? new BerthError(`machine ${name} is busy: it is stopping`, { kind: "Busy", hint: `berth wait ${name} stopped` })
    : new BerthError(`machine ${name} is running already`, { kind: "MachineExists" });
}

function isDead(name: string): BerthError {
  return new BerthError(`no machine ${quote(name)} is running`, {
    kind: "NoSuchMachine",
    hint: `berth start ${name} boots it`,
  });
}

function isBetween(name: string): BerthError {
  return new BerthError(`machine ${name} is between two boots`, { kind: "Busy" });
}
