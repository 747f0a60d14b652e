import { join } from "node:path";
import type { Command } from "commander";
import { BerthError, UsageError } from "../../errors.ts";
import { readHostFacts } from "../../host/read-facts.ts";
import { readTreeFacts } from "../../host/tree-facts.ts";
import { lookUp } from "../../machine/record.ts";
import { startInBackground } from "../../machine/start-background.ts";
import { requireName } from "../../spec/name.ts";
import { printable, visible } from "../../spec/quote.ts";
import { oneByOne } from "../each-machine.ts";
import { say } from "../output.ts";
import { startProgress } from "../progress.ts";
import type { Context, Runner } from "../verb.ts";

const TIMEOUT_S = 90;

export function define(program: Command, run: Runner): void {
  program
    .command("start")
    .summary("boot a machine in the background")
    .description(
      "Boots each machine in the background, as its settings say, and returns when all are ready: when systemd in it " +
        "says so, other inits as soon as they run. One that fails does not keep the others from being booted.",
    )
    .argument("<name...>", "the machines")
    .option("--timeout <SECONDS>", "how long a machine may take to be ready", String(TIMEOUT_S))
    .action(run(start));
}

async function start(context: Context, names: string[], options: { timeout: string }): Promise<number> {
  const { paths, signal } = context;
  const timeout = milliseconds(options.timeout);
  for (const name of names) requireName(name);
  return oneByOne(names, async (name) => {
    if (lookUp(name, paths) !== null) throw new BerthError(`machine ${name} is running already`);
    let said: readonly string[] = [];
    const onSaid = (lines: readonly string[]): void => {
      said = lines;
    };
    const progress = startProgress(process.stderr, { fancy: context.fancy, title: name, env: context.env });
    try {
      // Of the inits only systemd says by itself when it is ready; the others are as soon as they run.
      const { init } = readTreeFacts(join(paths.machines, name), readHostFacts());
      const runWords = init?.kind === "systemd" ? ["--notify-ready=yes"] : [];
      const onStatus = (status: string): void =>
        progress.update({ label: "booting", fraction: null, detail: printable(status) });
      await startInBackground({ name, runWords, paths, signal, timeout, onStatus, onSaid });
    } finally {
      progress.end();
    }
    for (const line of said) say(`${visible(line)}\n`);
  });
}

/** More than Node's setTimeout can wait for is no limit either: 24 days. */
function milliseconds(seconds: string): number {
  const value = Number(seconds);
  if (/^[0-9]+(\.[0-9]+)?$/.test(seconds) && value > 0) return Math.min(value * 1000, 2 ** 31 - 1);
  throw new UsageError(`--timeout=${printable(seconds)} is no number of seconds`, "the default is 90");
}
