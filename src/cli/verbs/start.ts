import { join } from "node:path";
import type { Command } from "commander";
import { BerthError } from "../../errors.ts";
import { readHostFacts } from "../../host/read-facts.ts";
import { readTreeFacts } from "../../host/tree-facts.ts";
import { lookUp } from "../../machine/record.ts";
import { startInBackground } from "../../machine/start-background.ts";
import { requireName } from "../../spec/name.ts";
import { printable, visible } from "../../spec/quote.ts";
import { hasBootEnd } from "../../supervise/init-boot.ts";
import { oneByOne } from "../each-machine.ts";
import { say } from "../output.ts";
import { startProgress } from "../progress.ts";
import { TIMEOUT_S, timeoutMs } from "../seconds.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("start")
    .summary("boot a machine in the background")
    .description(
      "Boots each machine in the background, as its settings say, and returns when all are ready: when systemd in it " +
        "says so, when sysvinit, OpenRC or runit have come to the end of their boot scripts, other inits as soon as " +
        "they run. One that fails does not keep the others from being booted.",
    )
    .argument("<name...>", "the machines")
    .option("--timeout <SECONDS>", "how long a machine may take to be ready", String(TIMEOUT_S))
    .action(run(start));
}

async function start(context: Context, names: string[], options: { timeout: string }): Promise<number> {
  const { paths, signal } = context;
  const timeout = timeoutMs(options.timeout);
  for (const name of names) requireName(name);
  return oneByOne(names, async (name) => {
    if (lookUp(name, paths) !== null) throw new BerthError(`machine ${name} is running already`);
    let said: readonly string[] = [];
    const onSaid = (lines: readonly string[]): void => {
      said = lines;
    };
    const progress = startProgress(process.stderr, { fancy: context.fancy, title: name, env: context.env });
    try {
      // Of the inits only systemd says by itself when it is ready; of others it shows (init-boot.ts), or it is not known.
      const { init } = readTreeFacts(join(paths.machines, name), readHostFacts());
      const runWords = init?.kind === "systemd" ? ["--notify-ready=yes"] : [];
      const saysReady = init?.kind === "systemd" || hasBootEnd(init?.kind ?? null);
      const onStatus = (status: string): void =>
        progress.update({ label: "booting", fraction: null, detail: printable(status) });
      await startInBackground({ name, runWords, saysReady, paths, signal, timeout, onStatus, onSaid });
    } finally {
      progress.end();
    }
    for (const line of said) say(`${visible(line)}\n`);
  });
}
