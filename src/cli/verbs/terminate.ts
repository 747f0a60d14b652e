import type { Command } from "commander";
import { findAnyMachine } from "../../machine/find-machine.ts";
import { killMachine, killUnknown } from "../../machine/signal-machine.ts";
import { allAtOnce } from "../each-machine.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("terminate")
    .summary("kill a machine at once")
    .description("Kills every process of each machine, and returns when the machines have ended.")
    .argument("<name...>", "the machines")
    .action(run(terminate));
}

async function terminate({ paths }: Context, names: string[]): Promise<number> {
  return allAtOnce(names, async (name) => {
    const machine = findAnyMachine(name, paths);
    await (machine.state === "unknown" ? killUnknown(machine, paths) : killMachine(machine));
  });
}
