import type { Command } from "commander";
import { disableMachine } from "../../manager/enabled.ts";
import { tellWhileWaiting } from "../../manager/power-off.ts";
import { requireName } from "../../spec/name.ts";
import { oneByOne } from "../each-machine.ts";
import { withMachines } from "../machines.ts";
import { say, tell } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("disable")
    .summary("start machines with the host no more")
    .description("Undoes what enable does. A machine that runs goes on.")
    .argument("<name...>", "the machines")
    .option("--now", "power them off now, too")
    .action(run(disable));
}

async function disable(context: Context, names: string[], { now = false }: { now?: boolean }): Promise<number> {
  for (const name of names) requireName(name);
  return oneByOne(names, async (name) => {
    if (!(await disableMachine(name, context.paths))) say(`berth: machine ${name} is not enabled\n`);
    if (now)
      await withMachines(context, [name], (machines) =>
        tellWhileWaiting(name, machines.powerOff(name, true, null), tell),
      );
  });
}
