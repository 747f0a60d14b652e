import type { Command } from "commander";
import { askInit } from "../../machine/ask-init.ts";
import { findMachine } from "../../machine/find-machine.ts";
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
  return allAtOnce(names, (name) => askInit(findMachine(name, paths), "reboot", paths));
}
