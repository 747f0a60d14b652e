import type { Command } from "commander";
import type { MachineView } from "../../manager/machine-view.ts";
import { printable } from "../../spec/quote.ts";
import { listViews } from "../list-views.ts";
import { print, say } from "../output.ts";
import { table } from "../table.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("list")
    .summary("show running machines")
    .description(
      "Shows the machines of this root that run or have failed, with their state and what runs in them; with --all " +
        "those as well that could be started.",
    )
    .option("-a, --all", "machines that do not run, too")
    .option("--json", "print as JSON")
    .action(run(list));
}

async function list(context: Context, { all = false, json }: { all?: boolean; json?: boolean }): Promise<number> {
  const machines = await listViews(context, all);
  if (json === true) {
    print(`${JSON.stringify(machines, null, 2)}\n`);
    return 0;
  }
  if (machines.length === 0) say("no machines\n");
  else
    print(
      table(["MACHINE", "CLASS", "SERVICE", "STATE", "OS", "VERSION", "INIT", "LEADER", "NOTE"], machines.map(row)),
    );
  return 0;
}

function row(view: MachineView): readonly string[] {
  const { name, service, state, os, version, init, leader } = view;
  const cells = [os, version, init, leader].map((cell) => (cell === null ? "-" : printable(String(cell))));
  return [name, view.class, service, state, ...cells, note(view)];
}

function note({ state, reason, weaknesses, restarts }: MachineView): string {
  const notes = [
    // Which directory that record is in says the machine's name.
    ...(reason === null ? [] : [state === "unknown" ? reason.replace(/^.*\/(?=record\.json )/, "") : reason]),
    ...(restarts === 0 ? [] : [`started again ${restarts} times`]),
    ...(weaknesses.length === 0 ? [] : [`weaker than the default: ${weaknesses.join("; ")}`]),
  ];
  return printable(notes.join("; "));
}
