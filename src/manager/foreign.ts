import { type FSWatcher, mkdirSync, watch } from "node:fs";
import type { Paths } from "../host/paths.ts";
import { recordsDirectory } from "../machine/places.ts";
import { listMachines, lookUp, type MachineRecord, type UnknownMachine } from "../machine/record.ts";

/** A record is written some ms after its directory is made, and may be again soon. */
const SETTLE_MS = 20;

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

  constructor(paths: Paths, isOurs: (name: string) => boolean, onChange: () => void) {
    this.#paths = paths;
    this.#isOurs = isOurs;
    this.#onChange = onChange;
  }

  open(): void {
    const directory = recordsDirectory(this.#paths);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#watcher = watch(directory, () => this.#settle());
    // Without it they are still found whenever somebody asks.
    this.#watcher.on("error", () => this.close());
  }

  /** As they are now, by name. */
  list(): readonly (MachineRecord | UnknownMachine)[] {
    return listMachines(this.#paths, (name) => !this.#isOurs(name));
  }

  has(name: string): boolean {
    return !this.#isOurs(name) && lookUp(name, this.#paths) !== null;
  }

  #settle(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#onChange();
    }, SETTLE_MS);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#watcher?.close();
    this.#watcher = undefined;
  }
}
