import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import type { MachineView } from "../../manager/machine-view.ts";
import { printable } from "../../spec/quote.ts";
import { listViews } from "../list-views.ts";
import { printJson } from "../output.ts";
import { listTable, NO_MACHINES, noteOf, withAddresses } from "../show-list.ts";
import { addTableOptions, printTable, type TableOptions } from "../table-options.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  const command = program
    .command("list")
    .summary("show running machines")
    .description(
      "Shows the machines of this root that run or have failed, with their state and what runs in them; with --all " +
        "those as well that could be started.",
    )
    .option("-a, --all", "machines that do not run, too")
    .option(
      "--max-addresses <NUMBER|all>",
      "how many addresses of each machine; an ellipsis stands for more; 0: none",
      "1",
    )
    .option("-l, --full", "all addresses");
  addTableOptions(command).option("--json", "print as JSON, with all that is known").action(run(list));
}

interface Options extends TableOptions {
  readonly all?: boolean;
  readonly json?: boolean;
  readonly full?: boolean;
  readonly maxAddresses: string;
}

async function list(context: Context, options: Options): Promise<number> {
  const most = addressCount(options.maxAddresses);
  const addresses = options.full === true ? Number.POSITIVE_INFINITY : most;
  const machines = (await listViews(context, options.all === true)).map(withAddresses);
  if (options.json === true) printJson(machines);
  else printTable({ ...listTable(machines, addresses), records: machines.map(record), none: NO_MACHINES }, options);
  return 0;
}

function addressCount(text: string): number {
  if (text === "all") return Number.POSITIVE_INFINITY;
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new UsageError(`--max-addresses=${printable(text)} is no number of addresses`, "a number, or all");
}

function record(view: MachineView) {
  const { name: machine, class: kind, service, state, os, version, addresses, init, leader } = view;
  const all = addresses.length === 0 ? null : addresses.join("\n");
  return {
    ...{ machine, class: kind, service, state, os, version, addresses: all, init, leader },
    note: noteOf(view) || null,
  };
}
