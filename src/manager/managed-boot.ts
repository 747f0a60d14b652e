import type { RunningBoot } from "../exec/running.ts";
import type { Paths } from "../host/paths.ts";
import { askInit } from "../machine/ask-init.ts";
import { BootWatch } from "../machine/boot-watch.ts";
import { type Outcome, outcomeOf } from "../machine/exit-status.ts";
import { killMachineNow } from "../machine/foreground-stop.ts";
import { freeze, isFrozen } from "../machine/freeze.ts";
import type { LiveRecord } from "../machine/live-record.ts";
import type { MachineRecord } from "../machine/record.ts";
import { untilLetGo } from "../machine/still.ts";
import { asPolicy, type MachinePolicy } from "./policy.ts";

/** One boot of a machine that the daemon manages, from when its init runs until nothing of it is left. */
export class ManagedBoot {
  readonly running: RunningBoot;
  readonly #watch: BootWatch;

  /** `saysReady`: see BootWatch. */
  constructor(running: RunningBoot, record: LiveRecord, saysReady: boolean) {
    this.running = running;
    this.#watch = new BootWatch(running, record, saysReady);
  }

  get record(): LiveRecord {
    return this.#watch.record;
  }

  get policy(): MachinePolicy | undefined {
    return asPolicy(this.current.policy);
  }

  /** A pidfd of its leader, which stays ours; undefined: it has gone. */
  get leader(): number | undefined {
    const { fds } = this.running;
    return fds.has("leader") ? fds.get("leader") : undefined;
  }

  get current(): MachineRecord {
    return this.record.current;
  }

  /** Its init, which could not hear it were it frozen. */
  async ask(wish: "poweroff" | "reboot", paths: Paths): Promise<void> {
    if (isFrozen(this.current)) {
      await untilLetGo(this.current, paths);
      if (isFrozen(this.current)) await freeze(this.current, false);
    }
    await askInit(this.current, wish, paths);
  }

  /** Every process of it, at once. */
  kill(): void {
    killMachineNow(this.current, this.running.fds.get("leader"));
  }

  /** Resolves when its init has ended, and the keeper with it: what is left is to be released. */
  async ended(): Promise<Outcome> {
    try {
      const exit = await this.running.exit();
      // Without its keeper nobody empties its console or says how it ends: what is left of it ends too.
      if (exit === null) this.kill();
      await this.running.keeperEnd();
      return outcomeOf(exit);
    } finally {
      this.#watch.close();
    }
  }

  /** See RunningBoot. */
  release(rebooting: boolean): void {
    this.running.release(false, rebooting);
  }
}
