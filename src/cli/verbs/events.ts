import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { BerthError } from "../../errors.ts";
import type { MachineView } from "../../manager/machine-view.ts";
import type { MachineEvent } from "../../manager/manager.ts";
import { printable, visibleJson } from "../../spec/quote.ts";
import { DaemonClient } from "../daemon-client.ts";
import { needDaemon } from "../daemon-start.ts";
import { print, say } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("events")
    .summary("show what happens to machines, as it happens")
    .description(
      "Prints a line whenever a machine starts, becomes ready, changes its state or ends, until ^C. When berthd ends, the next one is waited for; " +
        "what has changed meanwhile is told then.",
    )
    .option("--json", "one JSON document a line")
    .action(run(events));
}

async function events(context: Context, { json }: { json?: boolean }): Promise<number> {
  const { paths, env, signal } = context;
  const follower = new Follower((event) => print(json === true ? `${visibleJson(event)}\n` : line(event)));
  for (let client = await needDaemon(paths, env); ; client = await nextDaemon(context)) {
    try {
      const end = client.call("events", {}, { signal, onEvent: (event) => follower.hear(event) });
      const caughtUp = client.call("list", { all: false }).then((views) => follower.catchUp(views));
      await Promise.all([end, caughtUp]);
    } catch (error) {
      if (signal.aborted || !(error instanceof BerthError) || error.kind !== undefined) throw error;
    } finally {
      client.close();
    }
    signal.throwIfAborted();
    say("berth: berthd has ended: waiting for the next one\n");
  }
}

/** Who follows events over the lives of daemons: what has changed from what one told of to what the next one does is told, too. */
export class Follower {
  readonly #tell: (event: MachineEvent) => void;
  /** As they were told of last, as JSON; undefined: there is no first daemon yet. */
  #known: Map<string, string> | undefined;

  constructor(tell: (event: MachineEvent) => void) {
    this.#tell = tell;
  }

  hear(event: MachineEvent): void {
    if (event.view === null) this.#known?.delete(event.machine);
    else this.#known?.set(event.machine, JSON.stringify(event.view));
    this.#tell(event);
  }

  /** All that there are, by a daemon whose events come, too. Of the first one nothing is news. */
  catchUp(views: readonly MachineView[]): void {
    const now = new Map(views.map((view) => [view.name, view]));
    const before = this.#known;
    if (before !== undefined) {
      for (const machine of before.keys()) if (!now.has(machine)) this.hear({ type: "removed", machine, view: null });
    }
    this.#known ??= new Map();
    for (const [machine, view] of now) {
      const known = this.#known.get(machine);
      if (known === JSON.stringify(view) || isLaunched(view)) continue;
      if (before === undefined) this.#known.set(machine, JSON.stringify(view));
      else this.hear({ type: known === undefined ? "new" : "changed", machine, view });
    }
  }
}

/** Nothing is told of that before its init runs. */
function isLaunched({ state, leader, startsAgain }: MachineView): boolean {
  return state === "starting" && leader === null && startsAgain === null;
}

const LOOK_MS = 100;

/** Not started by us: who looks on changes nothing. */
async function nextDaemon({ paths, signal }: Context): Promise<DaemonClient> {
  for (;;) {
    await sleep(LOOK_MS, undefined, { signal });
    const client = await DaemonClient.connect(paths);
    if (client === null) continue;
    say("berth: berthd runs again\n");
    return client;
  }
}

function line({ type, machine, view }: MachineEvent): string {
  const { state, ready, reason, status } = view ?? { state: "stopped", ready: false, reason: null, status: null };
  const words = [type.padEnd(7), machine, state, ...(ready ? ["ready"] : []), reason ?? status ?? ""];
  return `${new Date().toISOString()} ${printable(words.join(" ").trimEnd())}\n`;
}
