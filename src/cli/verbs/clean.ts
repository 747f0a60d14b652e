import type { Command } from "commander";
import { sweepCachedTrees } from "../../image/cached-trees.ts";
import { type Cleaned, ImageStore } from "../../image/store.ts";
import { printable, visible } from "../../spec/quote.ts";
import { print, printJson, say } from "../output.ts";
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
      "Removes the images whose names begin with a dot; those that are in use, or have snapshots, stay, which is said. What killed commands and power cuts have left goes, too. What was removed is printed.",
    )
    .option("-a, --all", "all images, not only hidden ones")
    .option("--json", "print what was removed as JSON")
    .action(run(clean));
}

async function clean({ paths }: Context, { all = false, json = false }: Options): Promise<number> {
  const store = new ImageStore(paths);
  const left: Cleaned[] = [];
  const onSwept = (name: string): void => void left.push({ name, usage: null });
  const swept = await Promise.allSettled([store.sweep(onSwept), sweepCachedTrees(paths.cache, onSwept)]);
  const kept = (why: string): void => say(`berth: ${visible(why)}, so it is kept\n`);
  const removed = [...left, ...(await store.clean(all ? "all" : "hidden", kept))];
  if (json) printJson(removed);
  else for (const each of removed) print(`removed ${printable(each.name)}${sizeOf(each)}\n`);
  for (const each of swept) if (each.status === "rejected") throw each.reason;
  return 0;
}

/** Of what was never finished nobody has counted it. */
function sizeOf({ usage }: Cleaned): string {
  return usage === null ? "" : `, ${formatBytes(usage)}`;
}
