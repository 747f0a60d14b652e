import type { Command } from "commander";
import { tellWhileWaiting } from "../../manager/power-off.ts";
import { allAtOnce } from "../each-machine.ts";
import { withMachines } from "../machines.ts";
import { tell } from "../output.ts";
import { timeoutOrNull } from "../seconds.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("poweroff")
    .alias("stop")
    .summary("ask a machine's init to shut down")
    .description(
      "Asks the init of each machine to shut down, and waits until the machines have ended. One that takes too long " +
        "is killed, which is a failure.",
    )
    .argument("<name...>", "the machines")
    .option("--no-wait", "return as soon as they are asked")
    .option("--timeout <SECONDS>", "how long a machine may take to end; by default TimeoutStopSec= of its settings")
    .action(run(poweroff));
}

interface Options {
  readonly wait: boolean;
  readonly timeout?: string;
}

async function poweroff(context: Context, names: string[], options: Options): Promise<number> {
  const timeout = timeoutOrNull(options.timeout);
  return withMachines(context, names, (machines) =>
    allAtOnce(names, (name) => tellWhileWaiting(name, machines.powerOff(name, options.wait, timeout), tell)),
  );
}
