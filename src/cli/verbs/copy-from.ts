import { resolve } from "node:path";
import type { Command } from "commander";
import { copyFrom } from "../../copy/copy.ts";
import { findMachine } from "../../machine/find-machine.ts";
import { addCopyOptions, type CopyWords, withProgress } from "../copying.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  const command = program
    .command("copy-from")
    .summary("copy files of a machine to the host")
    .description(
      "Copies SOURCE, a file or a directory with all in it, from a running machine to the host, where it becomes TARGET; by " +
        "default the path is the same. Users and groups keep their numbers: what is root's inside is root's on the host; who " +
        "is none of the machine's is nobody (65534). Files lose their set-user-ID and set-group-ID bits and capabilities.",
    )
    .argument("<name>", "the machine")
    .argument("<source>", "what of the machine; of a link the link itself, unless a / follows")
    .argument("[target]", "what it is to be on the host: the directory that it is to be in has to be there");
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
  const to = resolve(target ?? source);
  await withProgress(context, name, words, (options) => copyFrom(machine, source, to, options, context.paths));
  return 0;
}
