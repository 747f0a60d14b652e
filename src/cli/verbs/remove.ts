import type { Command } from "commander";
import { ImageStore } from "../../image/store.ts";
import { oneByOne } from "../each-machine.ts";
import { forgetMachine } from "../forget-machine.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("remove")
    .summary("remove images for good")
    .description("Removes each image with its settings. One that a machine runs from is left alone.")
    .argument("<name...>", "the images")
    .action(run(remove));
}

async function remove({ paths }: Context, names: string[]): Promise<number> {
  const store = new ImageStore(paths);
  return oneByOne(names, async (name) => {
    await store.remove(name);
    await forgetMachine(name, paths);
  });
}
