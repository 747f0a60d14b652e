import type { Command } from "commander";
import { allAtOnce } from "../each-machine.ts";
import { withMachines } from "../machines.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("resume")
    .summary("let a paused machine go on")
    .description("Lets the processes of each machine go on that berth pause has stopped.")
    .argument("<name...>", "the machines")
    .action(run(resume));
}

function resume(context: Context, names: string[]): Promise<number> {
  return withMachines(context, names, (machines) => allAtOnce(names, (name) => machines.pause(name, false)));
}
