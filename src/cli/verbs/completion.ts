import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import { printable } from "../../spec/quote.ts";
import { SCRIPTS } from "../completion-scripts.ts";
import { print } from "../output.ts";
import type { Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("completion")
    .summary("print a script that completes words")
    .description(
      "Prints a script for bash, zsh or fish that completes verbs, options, their values and the names of machines and " +
        'images, which are looked up as you type. In bash: eval "$(berth completion bash)"; in zsh the same with zsh; in fish: ' +
        "berth completion fish | source.",
    )
    .argument("<bash|zsh|fish>", "which shell")
    .action(run(completion));
}

async function completion(_context: unknown, shell: string): Promise<number> {
  if (shell !== "bash" && shell !== "zsh" && shell !== "fish")
    throw new UsageError(`${printable(shell)}: there is no script for that shell`, "bash, zsh and fish have one");
  print(SCRIPTS[shell]);
  return 0;
}
