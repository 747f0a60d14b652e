import type { Command } from "commander";
import { allAtOnce } from "../each-machine.ts";
import { withMachines } from "../machines.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("reboot")
    .summary("ask a machine's init to reboot")
    .description("Asks the init of each machine to reboot the machine, and returns.")
    .argument("<name...>", "the machines")
    .action(run(reboot));
}

function reboot(context: Context, names: string[]): Promise<number> {
  return withMachines(context, names, (machines) => allAtOnce(names, (name) => machines.reboot(name)));
}
