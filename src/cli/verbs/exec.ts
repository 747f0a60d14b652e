import type { Command } from "commander";
import { execIn } from "../../machine/exec-in.ts";
import { findMachine } from "../../machine/find-machine.ts";
import { ProcessCaller } from "../../supervise/caller.ts";
import { type Context, type Runner, withoutDashes } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("exec")
    .summary("run a command in a machine")
    .description(
      "Runs COMMAND as root, or another user, in a running machine; stdin, stdout, stderr and the exit status are the command's own " +
        "(128+N when signal N killed it, 125 to 127 when it could not be started). With --tty ^] three times within a " +
        "second hangs its terminal up.",
    )
    .argument("<name>", "the machine")
    .argument("<command...>", "the command and its arguments")
    .option("-u, --user <USER>", "who runs it: a name of the machine's /etc/passwd, or a number")
    .option("-t, --tty", "give it a terminal of the machine's own")
    .passThroughOptions()
    .action(run(exec));
}

async function exec(
  context: Context,
  name: string,
  words: string[],
  options: { tty?: boolean; user?: string },
): Promise<number> {
  const argv = withoutDashes(words);
  const request = {
    argv,
    user: options.user,
    terminal: options.tty === true,
    caller: new ProcessCaller(),
    env: context.env,
  };
  return execIn(findMachine(name, context.paths), request, context.paths);
}
