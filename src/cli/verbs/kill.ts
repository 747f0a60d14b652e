import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import { findMachine } from "../../machine/find-machine.ts";
import { killIn } from "../../machine/kill-in.ts";
import { printable } from "../../spec/quote.ts";
import { signalNumber } from "../../spec/signals.ts";
import { allAtOnce } from "../each-machine.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("kill")
    .summary("send a signal to a machine's processes")
    .description(
      "Sends a signal to PID 1 of each machine, or to every process in it. As machinectl has it, SIGTERM to all by default.",
    )
    .argument("<name...>", "the machines")
    .option("-s, --signal <SIGNAL>", "by name or number", "SIGTERM")
    .option("--kill-whom <WHOM>", "leader: PID 1 alone; all: every process", "all")
    .option("--kill-who <WHOM>", "the same, as older ones call it")
    .action(run(kill));
}

async function kill({ paths }: Context, names: string[], options: Options): Promise<number> {
  const [signal, whom] = [signalOf(options.signal), whomOf(options.killWho ?? options.killWhom)];
  return allAtOnce(names, (name) => killIn(findMachine(name, paths), whom, signal));
}

interface Options {
  readonly signal: string;
  readonly killWhom: string;
  readonly killWho?: string;
}

function signalOf(text: string): number {
  const number = signalNumber(text);
  if (number !== undefined) return number;
  throw new UsageError(`--signal=${printable(text)} is no signal`, "a name such as SIGUSR1, or a number from 1 to 64");
}

function whomOf(text: string): "leader" | "all" {
  if (text === "leader" || text === "all") return text;
  throw new UsageError(`--kill-whom=${printable(text)} is neither leader nor all`);
}
