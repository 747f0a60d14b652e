import type { Command } from "commander";
import type { TransferView } from "../../manager/protocol.ts";
import { visible } from "../../spec/quote.ts";
import { DaemonClient } from "../daemon-client.ts";
import { print, printJson, say } from "../output.ts";
import { table } from "../table.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("list-transfers")
    .summary("show downloads, imports and exports that are going on")
    .description(
      "Shows what berthd downloads, and what others than berth, such as machinectl, let it import or export just now. One that failed says why.",
    )
    .option("--all", "those too that have ended, the last 32 that the running berthd had")
    .option("--json", "print as JSON")
    .action(run(listTransfers));
}

interface Options {
  readonly all?: boolean;
  readonly json?: boolean;
}

async function listTransfers({ paths }: Context, { all = false, json = false }: Options): Promise<number> {
  const client = await DaemonClient.connect(paths);
  const transfers = (await client?.call("transfers", { ended: all })) ?? [];
  client?.close();
  if (json) printJson(transfers);
  else if (transfers.length === 0) say("no transfers\n");
  else print(table(["ID", "STATE", "TYPE", "LOCAL", "REMOTE"], transfers.map(row)));
  for (const { id, state, status } of transfers)
    if (state === "failed" && status !== null) say(`transfer ${id}: ${visible(status)}\n`);
  return 0;
}

function row({ id, state, progress, type, local, remote }: TransferView): readonly string[] {
  return [String(id), state === "running" ? `${Math.floor(progress * 100)}%` : state, type, local, remote || "-"];
}
