import { BerthError } from "../errors.ts";
import { enabledMachines, noteStarted, wereStarted } from "./enabled.ts";
import type { Manager } from "./manager.ts";
import type { Level } from "./surroundings.ts";

/** Booted at a time: the host has other things to do as well just then. */
const AT_A_TIME = 4;

type Log = (level: Level, machine: string, line: string) => void;

/** Starts what is enabled, where this is the first daemon since the host's boot. */
export class Autostart {
  readonly #manager: Manager;
  readonly #log: Log;
  readonly #starts = new Map<string, Promise<void>>();

  constructor(manager: Manager, log: Log) {
    this.#manager = manager;
    this.#log = log;
  }

  /** Resolves when all are ready or have failed. */
  async run(bootId: string, signal: AbortSignal): Promise<void> {
    const { paths } = this.#manager;
    if (wereStarted(bootId, paths)) return;
    const names = [...enabledMachines(paths)];
    const work = async (): Promise<void> => {
      for (let name = names.shift(); name !== undefined && !signal.aborted; name = names.shift())
        await this.#start(name, signal);
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, work));
    // Of a daemon that ends before it is through the next one goes on.
    if (!signal.aborted) noteStarted(bootId, paths);
  }

  /** The start of a machine that is under way, for who wants the same: a command that has started the daemon above all. */
  underway(name: string): Promise<void> | undefined {
    return this.#starts.get(name);
  }

  async #start(name: string, signal: AbortSignal): Promise<void> {
    const caller = { signal, timeout: null, onStatus: () => undefined };
    const start = this.#manager.start(name, { ...caller, say: (line) => this.#log("warn", name, line) });
    this.#starts.set(name, start);
    try {
      await start;
      this.#log("info", name, "is enabled, and has been started");
    } catch (error) {
      const others = error instanceof BerthError && (error.kind === "Busy" || error.kind === "MachineExists");
      if (!signal.aborted && !others) this.#log("error", name, `is enabled, but: ${(error as Error).message}`);
    } finally {
      this.#starts.delete(name);
    }
  }
}
