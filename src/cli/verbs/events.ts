import type { Command } from "commander";
import type { MachineEvent } from "../../manager/manager.ts";
import { printable } from "../../spec/quote.ts";
import { needDaemon } from "../daemon-start.ts";
import { print } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("events")
    .summary("show what happens to machines, as it happens")
    .description("Prints a line whenever a machine starts, becomes ready, changes its state or ends, until ^C.")
    .option("--json", "one JSON document a line")
    .action(run(events));
}

async function events(context: Context, { json }: { json?: boolean }): Promise<number> {
  const client = await needDaemon(context.paths, context.env);
  try {
    await client.call(
      "events",
      {},
      {
        signal: context.signal,
        onEvent: (event) => print(json === true ? `${JSON.stringify(event)}\n` : line(event)),
      },
    );
  } finally {
    client.close();
  }
  return 0;
}

function line({ type, machine, view }: MachineEvent): string {
  const { state, ready, reason, status } = view ?? { state: "stopped", ready: false, reason: null, status: null };
  const words = [type.padEnd(7), machine, state, ...(ready ? ["ready"] : []), reason ?? status ?? ""];
  return `${new Date().toISOString()} ${printable(words.join(" ").trimEnd())}\n`;
}
