import type { Command } from "commander";
import { printable } from "../../spec/quote.ts";
import { print, printJson, tell } from "../output.ts";
import { startProgress } from "../progress.ts";
import { snapshotFields, takeSnapshot } from "../snapshots.ts";
import type { Context, Runner } from "../verb.ts";

interface Options {
  readonly comment?: string;
  readonly json?: boolean;
}

export function define(program: Command, run: Runner): void {
  program
    .command("snapshot")
    .summary("keep an image as it is now")
    .description(
      "Keeps the files and settings of image NAME as they are now; prints the snapshot's name. A machine may run: its " +
        "processes are stopped for a moment, so that all files are of one, as after a power cut: for some milliseconds on btrfs, " +
        "elsewhere for what they have changed while the rest was copied. For how long is said on stderr.",
    )
    .argument("<name>", "the image")
    .argument("[snapshot]", "the snapshot's name; snap0, snap1 and so on without it")
    .option("--comment <text>", "what it is for")
    .option("--json", "print what was made as JSON")
    .action(run(snapshot));
}

async function snapshot(context: Context, name: string, wanted: string | undefined, options: Options): Promise<number> {
  const { fancy, env } = context;
  const progress = startProgress(process.stderr, { fancy, title: name, env });
  const show = (fraction: number | null): void => progress.update({ label: "making a snapshot", fraction });
  if (fancy) show(null);
  const comment = options.comment ?? "";
  const made = await takeSnapshot(context, name, wanted ?? null, comment, fancy ? show : undefined).finally(() =>
    progress.end(),
  );
  if (options.json === true) printJson(snapshotFields(made));
  else {
    print(`${printable(made.name)}\n`);
    if (made.frozenMs !== null) tell(`what runs from ${made.image} was stopped for ${made.frozenMs} ms`);
  }
  return 0;
}
