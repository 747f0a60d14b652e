import type { Command } from "commander";
import { findMachine } from "../../machine/find-machine.ts";
import { askMachine } from "../../machine/signal-machine.ts";
import { REBOOT_SIGNAL } from "../../supervise/shutdown.ts";
import { allAtOnce } from "../each-machine.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("reboot")
    .summary("ask a machine's init to reboot")
    .description("Asks the init of each machine to reboot the machine, and returns.")
    .argument("<name...>", "the machines")
    .action(run(reboot));
}

async function reboot({ paths }: Context, names: string[]): Promise<number> {
  return allAtOnce(names, (name) => {
    const machine = findMachine(name, paths);
    return askMachine(machine, machine.rebootSignal ?? REBOOT_SIGNAL, false);
  });
}
