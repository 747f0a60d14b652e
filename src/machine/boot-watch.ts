import type { RunningBoot } from "../exec/running.ts";
import { isBooted, LOOK_MS } from "../supervise/init-boot.ts";
import { watchNotifications } from "../supervise/notify.ts";
import type { Unwatch } from "../sys/poll.ts";
import type { LiveRecord } from "./live-record.ts";

/** Keeps the record of a boot true while it runs: what its init says of itself, and what shows of the others. */
export class BootWatch {
  readonly record: LiveRecord;
  #unwatch: Unwatch | undefined;
  #looking: NodeJS.Timeout | undefined;

  /** `saysReady`: its init is waited for to say so (NotifyReady=). */
  constructor(running: RunningBoot, record: LiveRecord, saysReady: boolean) {
    this.record = record;
    if (running.fds.has("notify-socket"))
      this.#unwatch = watchNotifications(running.fds.get("notify-socket"), running.leaderPid, (notification) =>
        record.notified(notification),
      );
    if (!saysReady && !record.current.ready) this.#lookAtBoot();
  }

  /** For an init that does not say when it is ready. */
  #lookAtBoot(): void {
    const { init, leader } = this.record.current;
    this.#looking = setInterval(() => {
      if (!isBooted(init, leader.pid)) return;
      clearInterval(this.#looking);
      this.record.isReady();
    }, LOOK_MS);
  }

  close(): void {
    clearInterval(this.#looking);
    this.#unwatch?.();
    this.#unwatch = undefined;
  }
}
