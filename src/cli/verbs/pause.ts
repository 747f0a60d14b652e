import type { Command } from "commander";
import { allAtOnce } from "../each-machine.ts";
import { withMachines } from "../machines.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("pause")
    .summary("stop a machine's processes where they are")
    .description(
      "Freezes each machine: its processes stop where they are and go on with berth resume. It takes up memory, but no time.",
    )
    .argument("<name...>", "the machines")
    .action(run(pause));
}

function pause(context: Context, names: string[]): Promise<number> {
  return withMachines(context, names, (machines) => allAtOnce(names, (name) => machines.pause(name, true)));
}
