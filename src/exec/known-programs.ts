import type { LaunchPlan } from "../plan/step.ts";
import { type CompiledPlan, compile } from "./compile.ts";
import type { HostFds } from "./host-fds.ts";

/** A command may be megabytes long. */
const KEY_MAX = 32 << 10;

interface Known {
  /** All that the program is made from, but for the filter. */
  readonly key: string;
  readonly filter: Buffer;
  readonly compiled: CompiledPlan;
}

/**
 * The programs that were compiled last. What asks machines how they are runs the same commands again and again, and to know one
 * again takes a tenth of the time: a text of the steps, with everything that is in them, is the same.
 */
export class KnownPrograms {
  readonly #most: number;
  /** The one that was used last comes first. */
  #known: Known[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  compile(plan: LaunchPlan, arch: "x64" | "arm64", host: HostFds, filter: Buffer): CompiledPlan {
    const key = keyOf(plan, arch, host);
    if (key.length > KEY_MAX) return compile(plan, arch, host, filter);
    const found = this.#known.find((known) => known.key === key && known.filter.equals(filter));
    const first = found ?? { key, filter, compiled: compile(plan, arch, host, filter) };
    if (this.#known[0] !== first)
      this.#known = [first, ...this.#known.filter((known) => known !== first)].slice(0, this.#most);
    return first.compiled;
  }
}

/** Of failures it is told by the index of the step in the plan: so where the host's steps are counts, too. */
function keyOf({ steps }: LaunchPlan, arch: string, { named, ...numbers }: HostFds): string {
  const parts = steps.map((step) => (step.phase === "host" ? 0 : step));
  return JSON.stringify([arch, numbers, [...named], parts]);
}
