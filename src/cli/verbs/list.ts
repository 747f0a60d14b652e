import type { Command } from "commander";
import { listViews } from "../list-views.ts";
import { showList } from "../show-list.ts";
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

async function list(
  context: Context,
  { all = false, json = false }: { all?: boolean; json?: boolean },
): Promise<number> {
  showList(await listViews(context, all), json);
  return 0;
}
