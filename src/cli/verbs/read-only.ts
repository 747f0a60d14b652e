import type { Command } from "commander";
import { readBoolean } from "../../config/values.ts";
import { UsageError } from "../../errors.ts";
import { ImageStore } from "../../image/store.ts";
import { quote } from "../../spec/quote.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("read-only")
    .summary("mark an image read-only, or writable")
    .description(
      "Marks image NAME read-only, or with BOOL no, writable again. Of a tree this is chattr(1)'s flag i at its root, and a machine that is started by its name is as with ReadOnly=yes.",
    )
    .argument("<name>", "the image")
    .argument("[bool]", "yes or no; default yes")
    .action(run(readOnly));
}

async function readOnly({ paths }: Context, name: string, word = "yes"): Promise<number> {
  const truth = readBoolean(word);
  if (truth === undefined) throw new UsageError(`${quote(word)} is neither yes nor no`);
  await new ImageStore(paths).setReadOnly(name, truth);
  return 0;
}
