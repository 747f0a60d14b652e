import { type Command, Option } from "commander";
import type { CloneOptions } from "../../image/clone.ts";
import { ImageStore } from "../../image/store.ts";
import { say } from "../output.ts";
import { startProgress } from "../progress.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("clone")
    .summary("copy an image")
    .description(
      "Makes image NEW a copy of image NAME, with a copy of its settings; a machine may run from NAME meanwhile. Host " +
        "name, machine id and keys are the same in both.",
    )
    .argument("<name>", "the image")
    .argument("<new>", "the copy's name")
    .option("--read-only", "mark the copy read-only")
    .addOption(
      new Option(
        "--driver <driver>",
        "what keeps the copy: a plain directory, or a stack of layers that it shares with NAME (default: what suits the file system best)",
      ).choices(["directory", "stack"]),
    )
    .action(run(clone));
}

interface Flags {
  readonly readOnly?: boolean;
  readonly driver?: CloneOptions["driver"];
}

async function clone(context: Context, name: string, to: string, options: Flags): Promise<number> {
  const progress = startProgress(process.stderr, { fancy: context.fancy, title: to, env: context.env });
  const show = (fraction: number | null): void => progress.update({ label: `copying ${name}`, fraction });
  if (context.fancy) show(null);
  let copied: string | undefined;
  try {
    const { signal, paths } = context;
    await new ImageStore(paths).clone(name, to, {
      readOnly: options.readOnly === true,
      signal,
      driver: options.driver,
      progress: context.fancy ? show : undefined,
      onFullCopy: (why) => {
        copied = why;
      },
    });
  } finally {
    progress.end();
  }
  if (copied !== undefined) say(`berth: ${to} has a copy of all files of ${name}, and no layers of it, as ${copied}\n`);
  return 0;
}
