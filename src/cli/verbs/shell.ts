import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import { execIn } from "../../machine/exec-in.ts";
import { findMachine } from "../../machine/find-machine.ts";
import { ProcessCaller } from "../../supervise/caller.ts";
import { isTerminal } from "../../supervise/caller-terminal.ts";
import { type Context, type Runner, withoutDashes } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("shell")
    .summary("open a shell in a machine")
    .description(
      "Opens a login shell of root, or another user, in a running machine, on a terminal of the machine's own. ^] three times within a " +
        "second hangs that terminal up, and with it the shell.",
    )
    .argument("<name>", "the machine")
    .argument("[command...]", "what to run instead of the shell")
    .option("-u, --user <USER>", "whose shell: a name of the machine's /etc/passwd, or a number")
    .option("--uid <USER>", "the same, as machinectl(1) calls it")
    .passThroughOptions()
    .action(run(shell));
}

async function shell(
  context: Context,
  name: string,
  given: string[],
  options: { user?: string; uid?: string },
): Promise<number> {
  const words = withoutDashes(given);
  if (!isTerminal(0)) throw new UsageError("shell needs a terminal", `berth exec ${name} -- COMMAND does not`);
  const request = {
    user: options.user ?? options.uid,
    terminal: true,
    caller: new ProcessCaller(),
    env: context.env,
    argv: words,
  };
  return execIn(findMachine(name, context.paths), request, context.paths);
}
