import type { Command } from "commander";
import { Guard } from "../guard.ts";
import { timeoutMs } from "../seconds.ts";
import { type Context, type Runner, withoutDashes } from "../verb.ts";

interface Options {
  readonly reboot: boolean;
  readonly check?: string;
  readonly timeout: string;
  readonly snapshot?: string;
  readonly tty?: boolean;
}

export function define(program: Command, run: Runner): void {
  program
    .command("guard")
    .summary("run a command in a machine, and undo all of it if that fails")
    .description(
      "Makes a snapshot of a running machine, runs COMMAND in it (a release upgrade, say), reboots it and waits until it is ready. " +
        "If any of that fails, or for ^C, the machine is rolled back and booted as it was; a command that can't be executed has " +
        "changed nothing, and leaves no snapshot. The exit status is 0, or that of " +
        "the command; 123 if the check failed, 124 if the machine was not ready in time, or booted into rescue or emergency mode; 125 if berth itself failed.",
    )
    .argument("<name>", "the machine")
    .argument("<command...>", "the command and its arguments, behind --")
    .option("--no-reboot", "do not reboot")
    .option("--check <COMMAND>", "a line for the machine's shell that has to succeed in the end")
    .option("--timeout <SECONDS>", "how long the reboot may take until the machine is ready", "300")
    .option("--snapshot <NAME>", "the snapshot's name")
    .option("-t, --tty", "give the command a terminal of the machine's own")
    .action(run(guard));
}

function guard(context: Context, name: string, words: string[], options: Options): Promise<number> {
  return new Guard(context, {
    name,
    argv: withoutDashes(words),
    terminal: options.tty === true,
    snapshot: options.snapshot ?? null,
    reboot: options.reboot,
    timeout: timeoutMs(options.timeout),
    check: options.check ?? null,
  }).run();
}
