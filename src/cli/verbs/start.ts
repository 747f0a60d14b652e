import type { Command } from "commander";
import { BerthError } from "../../errors.ts";
import type { EphemeralEvent, StartEvent } from "../../manager/protocol.ts";
import { requireName } from "../../spec/name.ts";
import { printable, visible } from "../../spec/quote.ts";
import type { DaemonClient } from "../daemon-client.ts";
import { needDaemon } from "../daemon-start.ts";
import { allAtOnce } from "../each-machine.ts";
import { print, say } from "../output.ts";
import { type Progress, startProgress } from "../progress.ts";
import { timeoutOrNull } from "../seconds.ts";
import { titleOf } from "../start-plainly.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("start")
    .summary("boot a machine in the background")
    .description(
      "Boots each machine in the background, as its settings say, and returns when all are ready: when systemd in it " +
        "says so, when sysvinit, OpenRC or runit have come to the end of their boot scripts, other inits as soon as " +
        "they run. One that fails does not keep the others from being booted. They are berthd's then, which is " +
        "started where it does not run.",
    )
    .argument("<name...>", "the machines")
    .option("-x, --ephemeral", "boot a throw-away copy of each machine, whose name is printed; it goes when it ends")
    .option(
      "--timeout <SECONDS>",
      "how long a machine may take to be ready; by default TimeoutStartSec= of its settings",
    )
    .action(run(start));
}

async function start(context: Context, names: string[], options: Options): Promise<number> {
  const timeout = timeoutOrNull(options.timeout);
  for (const name of names) requireName(name);
  if (process.geteuid?.() !== 0)
    throw new BerthError("machines can be started by root only", {
      hint: "berth plan shows what a start does, without root",
    });
  const client = await needDaemon(context.paths, context.env);
  const title = titleOf(names);
  const progress = startProgress(process.stderr, { fancy: context.fancy, title, env: context.env });
  const said: string[] = [];
  try {
    return await allAtOnce(names, (name) =>
      startOne(client, name, { context, progress, timeout, said, ephemeral: options.ephemeral === true }),
    );
  } finally {
    progress.end();
    client.close();
    for (const line of said) say(`berth: ${visible(line)}\n`);
  }
}

interface Options {
  readonly timeout?: string;
  readonly ephemeral?: boolean;
}

interface Start {
  readonly context: Context;
  readonly progress: Progress;
  readonly timeout: number | null;
  readonly said: string[];
  readonly ephemeral: boolean;
}

async function startOne(client: DaemonClient, name: string, start: Start): Promise<void> {
  const { context, progress, timeout, said, ephemeral } = start;
  const show = (text: string): void => progress.update({ label: "booting", fraction: null, detail: printable(text) });
  const over = new AbortController();
  if (context.fancy && !ephemeral) showConsole(name, start, show, over.signal);
  const onEvent = (event: StartEvent | EphemeralEvent): void => {
    if ("said" in event) said.push(event.said);
    else if ("status" in event) show(event.status);
    else if (context.fancy) showConsole(event.name, start, show, over.signal);
  };
  try {
    const options = { signal: context.signal, onEvent };
    if (ephemeral) print(`${(await client.call("startEphemeral", { name, timeout }, options)).name}\n`);
    else await client.call("start", { name, timeout }, options);
  } finally {
    over.abort();
  }
}

/** Which unit is being started systemd and its like say on the console; it is for who looks. */
function showConsole(
  name: string,
  { context, progress }: Start,
  show: (text: string) => void,
  over: AbortSignal,
): void {
  progress.update({ label: "booting", fraction: null });
  void import("../boot-console.ts").then(({ watchBoot }) => watchBoot(name, context.paths, show, over));
}
