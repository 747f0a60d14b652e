import type { Command } from "commander";
import { askInit } from "../../machine/ask-init.ts";
import { findMachine } from "../../machine/find-machine.ts";
import { whenEnded } from "../../machine/signal-machine.ts";
import { allAtOnce } from "../each-machine.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("poweroff")
    .alias("stop")
    .summary("ask a machine's init to shut down")
    .description("Asks the init of each machine to shut down, and waits until the machines have ended.")
    .argument("<name...>", "the machines")
    .option("--no-wait", "return as soon as they are asked")
    .action(run(poweroff));
}

async function poweroff({ paths }: Context, names: string[], options: { wait: boolean }): Promise<number> {
  return allAtOnce(names, async (name) => {
    const machine = findMachine(name, paths);
    await askInit(machine, "poweroff", paths);
    if (options.wait) await whenEnded(machine);
  });
}
