import { type FSWatcher, mkdirSync, watch } from "node:fs";
import { join } from "node:path";
import type { Paths } from "../host/paths.ts";
import type { ProcessId } from "../host/process-id.ts";
import { recordsDirectory } from "../machine/places.ts";
import { leavesTraces, listMachines, lookUp, type MachineRecord, type UnknownMachine } from "../machine/record.ts";
import { ForeignWatch } from "./foreign-watch.ts";

/** A record is written some ms after its directory is made, and may be again soon. */
const SETTLE_MS = 20;
/** Where nothing tells that it has ended. */
const LOOK_MS = 1000;

/**
 * Machines that are not the manager's: a `berth run` has them in the foreground, or they could not be taken over. They are
 * seen by their records, which come and go.
 */
export class ForeignMachines {
  readonly #paths: Paths;
  readonly #isOurs: (name: string) => boolean;
  readonly #onChange: () => void;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #look: NodeJS.Timeout | undefined;
  readonly #watches = new Map<string, ForeignWatch>();

  constructor(paths: Paths, isOurs: (name: string) => boolean, onChange: () => void) {
    this.#paths = paths;
    this.#isOurs = isOurs;
    this.#onChange = onChange;
  }

  open(): void {
    const directory = recordsDirectory(this.#paths);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#watcher = watch(directory, (_, name) => {
      if (name === null || !this.#isOurs(name)) this.lookSoon();
    });
    // Without it they are still found whenever somebody asks.
    this.#watcher.on("error", () => this.close());
  }

  /** As they are now, by name. */
  list(): readonly (MachineRecord | UnknownMachine)[] {
    return listMachines(this.#paths, (name) => !this.#isOurs(name));
  }

  /** From now on it is told what changes of these. */
  follow(machines: readonly (MachineRecord | UnknownMachine)[]): void {
    for (const machine of machines) {
      const watch = this.#watches.get(machine.name) ?? this.#watch(machine.name);
      watch.follow(leaderOf(machine));
    }
    for (const [name, watch] of this.#watches) {
      if (machines.some((machine) => machine.name === name)) continue;
      watch.close();
      this.#watches.delete(name);
    }
    clearTimeout(this.#look);
    const isUnclear = machines.some((machine) => leaderOf(machine) === undefined);
    this.#look = isUnclear ? setTimeout(this.#onChange, LOOK_MS).unref() : undefined;
  }

  #watch(name: string): ForeignWatch {
    const watch = new ForeignWatch(join(recordsDirectory(this.#paths), name), () => this.lookSoon());
    this.#watches.set(name, watch);
    return watch;
  }

  has(name: string): boolean {
    return !this.#isOurs(name) && leavesTraces(name, this.#paths) && lookUp(name, this.#paths) !== null;
  }

  /** Soon. */
  lookSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#onChange();
    }, SETTLE_MS);
  }

  close(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#look);
    for (const watch of this.#watches.values()) watch.close();
    this.#watches.clear();
    this.#watcher?.close();
    this.#watcher = undefined;
  }
}

function leaderOf(machine: MachineRecord | UnknownMachine): ProcessId | undefined {
  return machine.state === "unknown" || machine.state === "rebooting" ? undefined : machine.leader;
}
