import type { Command } from "commander";
import { allAtOnce } from "../each-machine.ts";
import { withMachines } from "../machines.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("terminate")
    .summary("kill a machine at once")
    .description("Kills every process of each machine, and returns when the machines have ended.")
    .argument("<name...>", "the machines")
    .action(run(terminate));
}

function terminate(context: Context, names: string[]): Promise<number> {
  return withMachines(context, names, (machines) => allAtOnce(names, (name) => machines.terminate(name)));
}
