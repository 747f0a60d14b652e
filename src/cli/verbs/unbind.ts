import type { Command } from "commander";
import { unbindFrom } from "../../copy/bind.ts";
import { findMachine } from "../../machine/find-machine.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("unbind")
    .summary("take a bind away again")
    .description(
      "Unmounts what bind has mounted on TARGET in a running machine. Who uses files of it inside goes on to do so. What " +
        "was mounted there by settings, or by the machine itself, is refused.",
    )
    .argument("<name>", "the machine")
    .argument("<target>", "where in the machine")
    .action(run(unbind));
}

async function unbind({ paths, signal }: Context, name: string, target: string): Promise<number> {
  await unbindFrom(findMachine(name, paths), target, { signal }, paths);
  return 0;
}
