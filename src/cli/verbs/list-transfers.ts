import type { Command } from "commander";
import type { TransferView } from "../../manager/protocol.ts";
import { visible } from "../../spec/quote.ts";
import { DaemonClient } from "../daemon-client.ts";
import { printJson, say } from "../output.ts";
import { addTableOptions, printTable, type TableOptions } from "../table-options.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  const command = program
    .command("list-transfers")
    .summary("show downloads, imports and exports that are going on")
    .description(
      "Shows what berthd downloads, and what others than berth, such as machinectl, let it import or export just now. One that failed says why.",
    )
    .option("--all", "those too that have ended, the last 32 that the running berthd had");
  addTableOptions(command).option("--json", "print as JSON").action(run(listTransfers));
}

interface Options extends TableOptions {
  readonly all?: boolean;
  readonly json?: boolean;
}

async function listTransfers({ paths }: Context, options: Options): Promise<number> {
  const { all = false, json = false } = options;
  const client = await DaemonClient.connect(paths);
  const transfers = (await client?.call("transfers", { ended: all })) ?? [];
  client?.close();
  if (json) printJson(transfers);
  else printTable({ header: HEADER, rows: transfers.map(row), records: transfers, none: "no transfers" }, options);
  for (const { id, state, status } of transfers)
    if (state === "failed" && status !== null) say(`transfer ${id}: ${visible(status)}\n`);
  return 0;
}

const HEADER = ["ID", "STATE", "TYPE", "LOCAL", "REMOTE"];

function row({ id, state, progress, type, local, remote }: TransferView): readonly string[] {
  return [String(id), state === "running" ? `${Math.floor(progress * 100)}%` : state, type, local, remote || "-"];
}
