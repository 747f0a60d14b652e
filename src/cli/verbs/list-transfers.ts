import type { Command } from "commander";
import type { TransferView } from "../../manager/protocol.ts";
import { DaemonClient } from "../daemon-client.ts";
import { print, printJson, say } from "../output.ts";
import { table } from "../table.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("list-transfers")
    .summary("show downloads, imports and exports that are going on")
    .description(
      "Shows what berthd downloads, and what others than berth, such as machinectl, let it import or export just now.",
    )
    .option("--json", "print as JSON")
    .action(run(listTransfers));
}

async function listTransfers({ paths }: Context, { json = false }: { json?: boolean }): Promise<number> {
  const client = await DaemonClient.connect(paths);
  const transfers = (await client?.call("transfers", {})) ?? [];
  client?.close();
  if (json) printJson(transfers);
  else if (transfers.length === 0) say("no transfers\n");
  else print(table(["ID", "PROGRESS", "TYPE", "LOCAL", "REMOTE"], transfers.map(row)));
  return 0;
}

function row({ id, progress, type, local, remote }: TransferView): readonly string[] {
  return [String(id), `${Math.floor(progress * 100)}%`, type, local, remote || "-"];
}
