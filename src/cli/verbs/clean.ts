import type { Command } from "commander";
import { ImageStore } from "../../image/store.ts";
import { printable } from "../../spec/quote.ts";
import { print, printJson } from "../output.ts";
import { formatBytes } from "../sizes.ts";
import type { Context, Runner } from "../verb.ts";

interface Options {
  readonly all?: boolean;
  readonly json?: boolean;
}

export function define(program: Command, run: Runner): void {
  program
    .command("clean")
    .summary("remove hidden images, or all")
    .description(
      "Removes the images whose names begin with a dot; those that are in use stay. What killed commands and power cuts have left goes, too. What was removed is printed.",
    )
    .option("-a, --all", "all images, not only hidden ones")
    .option("--json", "print what was removed as JSON")
    .action(run(clean));
}

async function clean({ paths }: Context, { all = false, json = false }: Options): Promise<number> {
  const store = new ImageStore(paths);
  await store.sweep();
  const removed = await store.clean(all ? "all" : "hidden");
  if (json) printJson(removed);
  else for (const { name, usage } of removed) print(`removed ${printable(name)}, ${formatBytes(usage)}\n`);
  return 0;
}
