import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { emptyCgroup } from "../exec/cgroup.ts";
import type { Launch } from "../exec/launch.ts";
import type { RecordListener } from "../machine/live-record.ts";
import { recordsDirectory } from "../machine/places.ts";
import { RebootPause } from "../machine/reboot-pause.ts";
import type { MachineRecord } from "../machine/record.ts";
import { consoleTail } from "../supervise/console-log.ts";
import { Change } from "./change.ts";
import { endInTime } from "./end-in-time.ts";
import { endOfBoot } from "./end-of-boot.ts";
import { isAlive, isBetween, isDead } from "./machine-errors.ts";
import type { ManagedBoot } from "./managed-boot.ts";
import type { MachinePolicy } from "./policy.ts";
import { powerOffWithin } from "./power-off.ts";
import { type End, isFollowed } from "./restart.ts";
import { type Pending, Restarts } from "./restarts.ts";
import { asFailure, type Failure, type SavedState } from "./state-file.ts";
import type { Surroundings } from "./surroundings.ts";
import { killWhenLate, type StartCaller, whenReady } from "./when-ready.ts";

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
  #restarts = new Restarts();
  /** Of the settings that it was launched with last, or that were applied since; undefined: it was never launched. */
  policy: MachinePolicy | undefined;
  /** From a start until the machine has stopped or failed. */
  #life: Promise<void> | undefined;
  #tail: readonly string[] = [];

  /** `state`: of the daemon before. */
  constructor(name: string, surroundings: Surroundings, state?: SavedState) {
    this.name = name;
    this.#with = surroundings;
    this.#failure = state?.failure ?? null;
    this.#restarts.count = state?.restarts ?? 0;
  }

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
    return this.#restarts.count;
  }

  /** What it waits for between two boots. */
  get pending(): Pending | null {
    return this.#restarts.pending;
  }

  get stopping(): boolean {
    return this.alive && this.#onPurpose;
  }

  /** From a start to the end of it all: also when nothing of it runs just now, because it is launched or waits to be. */
  get alive(): boolean {
    return this.#life !== undefined;
  }

  /** Boots it, and resolves when it is ready. A start that fails, takes too long or is given up leaves nothing. */
  async start(caller: StartCaller): Promise<void> {
    await this.#with.operations.run(this.name, "start", async () => {
      if (this.alive) throw isAlive(this.name, this.#onPurpose, this.pending);
      this.#forget();
      const giveUp = (): void => this.#giveUp(caller.signal.reason as BerthError);
      caller.signal.addEventListener("abort", giveUp);
      try {
        await this.#begin(caller);
      } finally {
        caller.signal.removeEventListener("abort", giveUp);
      }
    });
    await whenReady(this, caller, caller.timeout ?? this.#policyNow().startTimeout);
  }

  /** Takes over a boot that an earlier daemon has launched, and which is made with what its record tells. */
  adopt(make: (listener: RecordListener) => ManagedBoot, stopping: boolean): void {
    this.#onPurpose = stopping;
    const say = (line: string): void => this.#with.log("warn", this.name, line);
    this.#live(() => {
      const boot = make({ say, onChange: () => this.#changed() });
      this.#restarts.started(boot.current.times.executedMonotonic);
      return this.#through(boot);
    });
  }

  /** Goes on where an earlier daemon was interrupted, which did not see to what comes after this end, of a boot where that is known. */
  resume(end: End, boot?: { readonly tail: readonly string[]; readonly started: number }): void {
    this.#restarts.started(boot?.started);
    this.#tail = boot?.tail ?? [];
    this.#live(() => Promise.resolve(end));
  }

  /**
   * Asks its init to power off, and resolves when the machine has ended. One that takes longer than `timeout` ms is killed;
   * null: longer than its settings say.
   */
  powerOff(timeout: number | null): Promise<void> {
    return powerOffWithin(timeout ?? this.#policyNow().stopTimeout, {
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
    const before = this.#onPurpose;
    this.#giveUp();
    if (this.#boot === undefined) return;
    this.#save("stop");
    try {
      await this.#boot.ask("poweroff", this.#with.paths);
      this.#boot?.record.update({ state: "stopping" });
    } catch (error) {
      // It was not told.
      if (!this.#killed && !before) {
        this.#onPurpose = false;
        this.#saveRunning();
      }
      throw error;
    }
  }

  /** Asks its init to reboot; does not wait for that. */
  async reboot(): Promise<void> {
    const boot = this.#boot;
    if (boot === undefined) throw this.alive ? isBetween(this.name, this.pending) : isDead(this.name);
    await boot.ask("reboot", this.#with.paths);
    if (this.#boot === boot) boot.record.update({ state: "stopping" }); // else the next one is here by now
  }

  /** Kills all of it, whatever it is doing, and resolves when nothing is left. `verdict`: why it has failed by that. */
  async terminate(verdict?: BerthError): Promise<void> {
    if (!this.alive) throw isDead(this.name);
    this.#killed = true;
    this.#verdict ??= verdict;
    this.#giveUp();
    if (this.#boot !== undefined) this.#save("stop");
    this.#boot?.kill();
    await endInTime(this.name, this.ended, this.record?.cgroup);
  }

  /** Resolves when something is true of it, which is looked at whenever it changes. */
  async until(isTrue: () => boolean, signal: AbortSignal): Promise<void> {
    while (!isTrue()) await this.#change.next(signal);
  }

  /** Nothing of it boots any more, and what is about to does not. */
  #giveUp(reason = new BerthError(`the start of machine ${this.name} was given up`)): void {
    this.#onPurpose = true;
    this.#restarts.endWait();
    this.#launch?.abort(reason);
  }

  /** Of one that does not run. */
  forgetFailure(): void {
    this.#forget();
    this.#with.files.remove(this.name);
  }

  #forget(): void {
    [this.#onPurpose, this.#killed, this.#verdict, this.#failure] = [false, false, undefined, null];
    [this.#restarts, this.#tail] = [new Restarts(), []];
  }

  /** Resolves when it runs. */
  async #begin(caller: StartCaller): Promise<void> {
    const booted = Promise.withResolvers<void>();
    this.#live(async () => {
      try {
        const boot = await this.#bootUp(false, caller.say, caller.signal);
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
        end = boot && (await this.#through(boot, end.kind !== "reboot"));
      }
    };
    const life = Promise.withResolvers<void>();
    [this.#life, this.#failure] = [life.promise, null]; // from before anything of it is told to anybody
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
    this.#save("reboot");
    const say = (time: number): void => this.#with.log("warn", this.name, `was hardly up: it waits for ${time} s`);
    await pause.rebooting(() => this.#onPurpose, say);
  }

  async #mayRestart(end: End): Promise<boolean> {
    if (this.#onPurpose) return this.#over(null);
    const next = this.#restarts.next(end, this.#policyNow().restart);
    if (next.kind === "stopped") return this.#over(null);
    if (next.kind === "failed") return this.#over(asFailure(new BerthError(next.reason), this.#tail, end.time));
    this.#save("restart");
    this.#with.log("warn", this.name, `is started again in ${next.delay / 1000} s: ${next.why}`);
    const time = this.#restarts.wait(next.delay, next.why);
    this.#changed();
    await time;
    return this.#onPurpose ? this.#over(null) : true;
  }

  async #bootUp(rebooting: boolean, say: (line: string) => void, signal?: AbortSignal): Promise<ManagedBoot> {
    if (!rebooting) this.#restarts.started();
    const boot = await this.#with.launcher.launch(this.name, rebooting, {
      say,
      onLaunch: (launch) => {
        this.#launch = launch;
        // With the reason that there was before there was a launch.
        if (this.#onPurpose) this.#giveUp(signal?.reason as BerthError | undefined);
      },
      onChange: () => this.#boot && this.#changed(), // else that is told when it is there
    });
    // The last moment that it could not be aborted any more.
    if (this.#onPurpose) boot.kill();
    return boot;
  }

  /** One boot, to the end of it. `alone`: nobody has asked for it, and waits for it to be ready. */
  async #through(boot: ManagedBoot, alone = false): Promise<End> {
    this.#boot = boot;
    this.policy = boot.policy;
    this.#saveRunning();
    this.#changed();
    const limit = killWhenLate(boot, alone ? this.#policyNow().startTimeout : null);
    const outcome = await boot.ended();
    const end = limit.over() ?? endOfBoot(outcome, boot.current.cgroup);
    await emptyCgroup(join(boot.current.cgroup, "payload"));
    await this.#with.launcher.turn();
    const rebooting = end.kind === "reboot" && !this.#onPurpose;
    this.#tail = consoleTail(join(recordsDirectory(this.#with.paths), this.name));
    this.#boot = undefined;
    // Before its record goes, so that whenever a daemon is killed the next one knows.
    if (rebooting) this.#save("reboot");
    else if (!this.#onPurpose && isFollowed(end, this.#policyNow().restart)) this.#save("restart");
    try {
      boot.release(rebooting);
    } catch (error) {
      this.#with.log("error", this.name, `what is left of it could not be cleaned up: ${(error as Error).message}`);
    }
    if (rebooting) this.#changed(); // nothing of it runs until the next boot, which may take a while
    return end;
  }

  #policyNow(): MachinePolicy {
    return this.policy ?? this.#with.launcher.policyOf(this.name, this.#with.log);
  }

  /** It does not boot again. */
  #over(ended: Failure | null): false {
    const failure = this.#verdict === undefined ? ended : asFailure(this.#verdict, this.#tail);
    this.#failure = failure;
    if (failure === null) this.#with.files.remove(this.name);
    else this.#save(null);
    if (failure !== null) this.#with.log("error", this.name, `has failed: ${failure.reason}`);
    return false;
  }

  #saveRunning(): void {
    if (this.#onPurpose) this.#save("stop");
    else if (this.#restarts.count > 0) this.#save(null);
    else this.#with.files.remove(this.name);
  }

  /** For the next daemon. A disk that is full costs that, never the machine. */
  #save(next: SavedState["next"]): void {
    const { files, bootId, log } = this.#with;
    try {
      files.write({ name: this.name, next, restarts: this.restarts, failure: this.#failure, bootId });
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
