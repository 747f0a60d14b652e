import type { Command } from "commander";
import { attachConsole } from "../../machine/attach-console.ts";
import { findMachine } from "../../machine/find-machine.ts";
import { ProcessCaller } from "../../supervise/caller.ts";
import { isTerminal } from "../../supervise/caller-terminal.ts";
import { say } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("console")
    .summary("connect to a machine's console")
    .description(
      "Shows what a running machine says on its console from now on, and its last lines before, and types there what is " +
        "typed here. Many may look at a console; one at a time types, for the others it is shown only. ^] three times within a second " +
        "leaves it, and the machine goes on.",
    )
    .argument("<name>", "the machine")
    .option("--read-only", "only show it")
    .action(run(connect));
}

async function connect(context: Context, name: string, { readOnly = false }: { readOnly?: boolean }): Promise<number> {
  const machine = findMachine(name, context.paths);
  const tell = (line: string): void => say(`berth: ${line}\n`);
  const terminal = isTerminal(0);
  if (terminal)
    tell(`the console of machine ${name}${readOnly ? "; ^C leaves it" : "; ^] three times within a second leaves it"}`);
  const options = { readOnly, caller: new ProcessCaller(), signal: context.signal, say: tell };
  const end = await attachConsole(machine, options, context.paths);
  if (terminal || end === "ended")
    tell(end === "ended" ? `this boot of machine ${name} is over` : `left machine ${name}, which goes on`);
  return 0;
}
