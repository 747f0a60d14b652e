import type { Command } from "commander";
import { ImageStore } from "../../image/store.ts";
import { forgetMachine } from "../forget-machine.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("rename")
    .summary("give an image another name")
    .description("Renames image NAME to NEW, with its settings and its range of ids. No machine may run from it.")
    .argument("<name>", "the image")
    .argument("<new>", "its new name")
    .action(run(rename));
}

async function rename({ paths }: Context, name: string, to: string): Promise<number> {
  new ImageStore(paths).rename(name, to);
  await forgetMachine(name, paths);
  return 0;
}
