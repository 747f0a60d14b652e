import type { Command } from "commander";
import type { Paths } from "../../host/paths.ts";
import { findTree } from "../../host/tree-place.ts";
import { noSuchMachine } from "../../machine/known-machines.ts";
import { enableMachine } from "../../manager/enabled.ts";
import { requireName } from "../../spec/name.ts";
import { needDaemon } from "../daemon-start.ts";
import { oneByOne } from "../each-machine.ts";
import { say } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("enable")
    .summary("start machines with the host")
    .description(
      "From now on berthd starts these machines when it is started for the first time after the host's boot. Where systemd runs the host, " +
        "systemctl enable berthd.service makes it start berthd then.",
    )
    .argument("<name...>", "the machines")
    .option("--now", "start them now, too")
    .action(run(enable));
}

async function enable(context: Context, names: string[], { now = false }: { now?: boolean }): Promise<number> {
  for (const name of names) requireName(name);
  return oneByOne(names, async (name) => {
    if (findTree(context.paths.machines, name) === null) throw noSuchMachine(name, context.paths);
    if (!(await enableMachine(name, context.paths))) say(`berth: machine ${name} is enabled already\n`);
    if (now) await startNow(name, context);
  });
}

async function startNow(name: string, { paths, env, signal }: Context & { readonly paths: Paths }): Promise<void> {
  const client = await needDaemon(paths, env);
  try {
    const running = (await client.call("list", { all: false })).some(
      (view) => view.name === name && view.leader !== null,
    );
    if (!running) await client.call("start", { name, timeout: null }, { signal });
  } finally {
    client.close();
  }
}
