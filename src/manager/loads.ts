import { type Load, NO_LOAD, readLoad } from "../machine/resources.ts";
import { monotonic } from "../sys/clock.ts";
import type { ShownState } from "./machine-view.ts";
import type { Manager } from "./manager.ts";

/** What a machine takes, at a time. */
export interface MachineLoad extends Load {
  readonly name: string;
  readonly state: ShownState;
  /** Another one: it has booted since, and counts anew. */
  readonly leader: number | null;
  /** When it was read: ms of CLOCK_MONOTONIC. */
  readonly at: number;
}

export interface Loaded {
  readonly name: string;
  readonly state: ShownState;
  readonly leader: number | null;
  /** Null: nothing more can be told of it. */
  readonly cgroup: string | null;
}

/** What a daemon has running. */
export function runningOf(manager: Manager): readonly Loaded[] {
  return manager
    .list()
    .filter(({ state }) => state !== "failed")
    .map(({ name, state, leader }) => ({ name, state, leader, cgroup: cgroupOf(name, manager) }));
}

/** Of one that is between two boots, or that nothing can be told of: none. */
function cgroupOf(name: string, manager: Manager): string | null {
  try {
    return manager.record(name).cgroup;
  } catch {
    return null;
  }
}

/** For so long what was read is told again, ms: however many look, it is read no more often. */
const FRESH_MS = 250;

/** Reads what machines take, one of them a turn of the event loop. */
export class Loads {
  readonly #running: () => readonly Loaded[];
  #read = new Map<string, MachineLoad>();

  /** `running`: the machines that there are. */
  constructor(running: () => readonly Loaded[]) {
    this.#running = running;
  }

  /** Of those of these names that run; none: of all. */
  async read(names: readonly string[]): Promise<readonly MachineLoad[]> {
    const running = this.#running();
    const there = new Set(running.map(({ name }) => name));
    for (const name of this.#read.keys()) if (!there.has(name)) this.#read.delete(name);
    const wanted = names.length === 0 ? running : running.filter(({ name }) => names.includes(name));
    const loads: MachineLoad[] = [];
    for (const machine of wanted) loads.push(this.#fresh(machine) ?? (await this.#look(machine)));
    return loads;
  }

  #fresh({ name, state, leader }: Loaded): MachineLoad | undefined {
    const last = this.#read.get(name);
    return last !== undefined && last.leader === leader && last.state === state && monotonic() - last.at < FRESH_MS
      ? last
      : undefined;
  }

  async #look({ name, state, leader, cgroup }: Loaded): Promise<MachineLoad> {
    await new Promise((resolve) => setImmediate(resolve));
    const load = cgroup === null ? NO_LOAD : readLoad(cgroup);
    const read = { name, state, leader, ...load, at: monotonic() };
    this.#read.set(name, read);
    return read;
  }
}
