import type { Command } from "commander";
import { findMachine } from "../../machine/find-machine.ts";
import { setProperties } from "../../machine/set-property.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("set-property")
    .summary("change resource limits of a running machine")
    .description(
      "Changes resource controls of a machine while it runs, by the names of systemd.resource-control(5): MemoryMax, MemoryHigh, MemoryLow, MemoryMin, MemorySwapMax, TasksMax, CPUQuota, CPUWeight, IOWeight, AllowedCPUs. They hold until it ends.",
    )
    .argument("<name>", "the machine")
    .argument("<NAME=VALUE...>", "what to set")
    .action(run(setProperty));
}

async function setProperty({ paths }: Context, name: string, properties: string[]): Promise<number> {
  await setProperties(findMachine(name, paths), properties);
  return 0;
}
