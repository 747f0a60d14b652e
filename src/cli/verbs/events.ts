import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { BerthError } from "../../errors.ts";
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
      "Prints a line whenever a machine starts, becomes ready, changes its state or ends, until ^C. When berthd ends, the next one is waited for.",
    )
    .option("--json", "one JSON document a line")
    .action(run(events));
}

async function events(context: Context, { json }: { json?: boolean }): Promise<number> {
  const { paths, env, signal } = context;
  const onEvent = (event: MachineEvent): void => print(json === true ? `${visibleJson(event)}\n` : line(event));
  for (let client = await needDaemon(paths, env); ; client = await nextDaemon(context)) {
    try {
      await client.call("events", {}, { signal, onEvent });
    } catch (error) {
      if (signal.aborted || !(error instanceof BerthError) || error.kind !== undefined) throw error;
    } finally {
      client.close();
    }
    signal.throwIfAborted();
    say("berth: berthd has ended: waiting for the next one\n");
  }
}

const LOOK_MS = 100;

/** Not started by us: who looks on changes nothing. */
async function nextDaemon({ paths, signal }: Context): Promise<DaemonClient> {
  for (;;) {
    const client = await DaemonClient.connect(paths);
    if (client !== null) {
      say("berth: berthd runs again\n");
      return client;
    }
    await sleep(LOOK_MS, undefined, { signal });
  }
}

function line({ type, machine, view }: MachineEvent): string {
  const { state, ready, reason, status } = view ?? { state: "stopped", ready: false, reason: null, status: null };
  const words = [type.padEnd(7), machine, state, ...(ready ? ["ready"] : []), reason ?? status ?? ""];
  return `${new Date().toISOString()} ${printable(words.join(" ").trimEnd())}\n`;
}
