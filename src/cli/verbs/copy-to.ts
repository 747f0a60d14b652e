import { resolve } from "node:path";
import type { Command } from "commander";
import { copyTo } from "../../copy/copy.ts";
import { findMachine } from "../../machine/find-machine.ts";
import { addCopyOptions, type CopyWords, withProgress } from "../copying.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  const command = program
    .command("copy-to")
    .summary("copy files of the host into a machine")
    .description(
      "Copies SOURCE, a file or a directory with all in it, into a running machine, where it becomes TARGET; by default the " +
        "path is the same. Users and groups keep their numbers: what is root's on the host is root's inside; who the machine " +
        "has no number for is nobody (65534).",
    )
    .argument("<name>", "the machine")
    .argument("<source>", "what of the host; of a link the link itself, unless a / follows")
    .argument("[target]", "what it is to be in the machine: the directory that it is to be in has to be there");
  addCopyOptions(command).action(run(copy));
}

async function copy(
  context: Context,
  name: string,
  source: string,
  target: string | undefined,
  words: CopyWords,
): Promise<number> {
  const machine = findMachine(name, context.paths);
  // As typed but for where it begins: a / at the end means something.
  const from = source.startsWith("/") ? source : `${resolve()}/${source}`;
  const to = target ?? resolve(source);
  await withProgress(context, name, words, (options) => copyTo(machine, from, to, options, context.paths));
  return 0;
}
