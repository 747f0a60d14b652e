import { join } from "node:path";
import type { Command } from "commander";
import { BerthError } from "../../errors.ts";
import { readHostFacts } from "../../host/read-facts.ts";
import { readTreeFacts } from "../../host/tree-facts.ts";
import { readRecord } from "../../machine/record.ts";
import { startInBackground } from "../../machine/start-background.ts";
import { printable } from "../../spec/quote.ts";
import { startProgress } from "../progress.ts";
import type { Context, Runner } from "../verb.ts";

const TIMEOUT_S = 90;

export function define(program: Command, run: Runner): void {
  program
    .command("start")
    .summary("boot a machine in the background")
    .description(
      "Boots each machine in the background, as its settings say, and returns when all are ready: when systemd in it " +
        "says so, other inits as soon as they run.",
    )
    .argument("<name...>", "the machines")
    .option("--timeout <SECONDS>", "how long a machine may take to be ready", String(TIMEOUT_S))
    .action(run(start));
}

async function start(context: Context, names: string[], options: { timeout: string }): Promise<number> {
  const { paths, signal } = context;
  for (const name of names) {
    if (readRecord(name, paths) !== null) throw new BerthError(`machine ${name} is running already`);
    const progress = startProgress(process.stderr, { fancy: context.fancy, title: name, env: context.env });
    try {
      const timeout = Number(options.timeout) * 1000;
      // Of the inits only systemd says by itself when it is ready; the others are as soon as they run.
      const { init } = readTreeFacts(join(paths.machines, name), readHostFacts());
      const runWords = init?.kind === "systemd" ? ["--notify-ready=yes"] : [];
      const onStatus = (status: string): void =>
        progress.update({ label: "booting", fraction: null, detail: printable(status) });
      await startInBackground({ name, runWords, paths, signal, timeout, onStatus });
    } finally {
      progress.end();
    }
  }
  return 0;
}
