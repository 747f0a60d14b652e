import { notifyService } from "../sys/service-notify.ts";

/** The service manager that started the daemon, if it wants to hear of it: sd_notify(3), sd_watchdog_enabled(3). */
export class ServiceManager {
  readonly #address: string | undefined;
  readonly #watchdog: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(env: NodeJS.ProcessEnv) {
    this.#address = env["NOTIFY_SOCKET"];
    const [interval, pid] = [Number(env["WATCHDOG_USEC"]), env["WATCHDOG_PID"]];
    const isForUs = pid === undefined || Number(pid) === process.pid;
    this.#watchdog = isForUs && interval > 0 ? interval / 1000 : 0;
  }

  ready(status: string): void {
    this.#tell(`READY=1\nSTATUS=${status}`);
    if (this.#watchdog === 0) return;
    // As often again as it must, from the event loop: one that hangs says nothing.
    this.#timer = setInterval(() => this.#tell("WATCHDOG=1"), this.#watchdog / 2);
  }

  stopping(): void {
    clearInterval(this.#timer);
    this.#tell("STOPPING=1");
  }

  #tell(text: string): void {
    if (this.#address === undefined) return;
    try {
      notifyService(this.#address, text);
    } catch {
      // It has gone, or does not listen: that is its affair.
    }
  }
}
