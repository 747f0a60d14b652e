import { BerthError } from "../errors.ts";
import { isFrozen } from "../machine/freeze.ts";
import { listMachines } from "../machine/record.ts";
import { Loads, type MachineLoad } from "../manager/loads.ts";
import { viewOfRecord, viewOfUnknown } from "../manager/machine-view.ts";
import { DaemonClient } from "./daemon-client.ts";
import type { Context } from "./verb.ts";

/** What machines take, as often as it is asked for: by the daemon, or while none runs as their records tell. */
export class LoadSource {
  readonly #paths: Context["paths"];
  #client: DaemonClient | null = null;
  readonly #own: Loads;

  constructor({ paths }: Context) {
    this.#paths = paths;
    this.#own = new Loads(() =>
      listMachines(paths).map((machine) => {
        if (machine.state === "unknown") return { ...viewOfUnknown(machine), cgroup: null };
        return { ...viewOfRecord(machine, isFrozen(machine)), cgroup: machine.cgroup };
      }),
    );
  }

  /** Of those of these names that run; none: of all. */
  async read(names: readonly string[]): Promise<readonly MachineLoad[]> {
    this.#client ??= await DaemonClient.connect(this.#paths);
    if (this.#client === null) return this.#own.read(names);
    try {
      return await this.#client.call("loads", { names });
    } catch (error) {
      // What has no kind is that the daemon has gone: the records tell on, until there is the next one.
      if (!(error instanceof BerthError) || error.kind !== undefined) throw error;
      this.close();
      return this.#own.read(names);
    }
  }

  close(): void {
    this.#client?.close();
    this.#client = null;
  }
}
