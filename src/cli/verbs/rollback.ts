import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import { splitSnapshotName } from "../../image/snapshots/snapshot.ts";
import { openSnapshots } from "../../image/snapshots/snapshots.ts";
import { printable } from "../../spec/quote.ts";
import { print, printJson } from "../output.ts";
import { startProgress } from "../progress.ts";
import { timeoutOrNull } from "../seconds.ts";
import { rollBack } from "../snapshots.ts";
import type { Context, Runner } from "../verb.ts";

interface Options {
  readonly restart?: boolean;
  readonly timeout?: string;
  readonly undo?: boolean;
  readonly confirm?: boolean;
  readonly json?: boolean;
}

export function define(program: Command, run: Runner): void {
  program
    .command("rollback")
    .summary("make an image what it was at a snapshot")
    .description(
      "Makes the files and settings of image NAME what they were at a snapshot, which stays. What is replaced is kept as a " +
        "snapshot before-rollback, until --undo goes back to it or --confirm removes it.",
    )
    .argument("<name>", "the image; NAME@SNAPSHOT stands for both")
    .argument("[snapshot]", "the snapshot; the newest without it")
    .option(
      "--restart",
      "power off the machine that runs from it before, or kill it where it does not, and boot it again",
    )
    .option(
      "--timeout <SECONDS>",
      "with --restart: how long the machine may take to power off; by default TimeoutStopSec= of its settings",
    )
    .option("--undo", "go back to what the last rollback has replaced")
    .option("--confirm", "remove what rollbacks have replaced")
    .option("--json", "print what came of it as JSON")
    .action(run(rollback));
}

async function rollback(
  context: Context,
  given: string,
  second: string | undefined,
  options: Options,
): Promise<number> {
  const named = splitSnapshotName(given);
  if (named !== null && second !== undefined) throw new UsageError("one snapshot can be gone back to, not two");
  const { image: name, snapshot } = named ?? { image: given, snapshot: second };
  const { undo = false, confirm = false, restart = false, json = false } = options;
  if ([snapshot !== undefined, undo, confirm].filter(Boolean).length > 1)
    throw new UsageError("a snapshot, --undo and --confirm exclude each other");
  if (options.timeout !== undefined && !restart) throw new UsageError("--timeout= is for --restart");
  if (confirm) {
    const removed = await openSnapshots(context.paths).confirm(name);
    if (json) printJson({ removed });
    else for (const each of removed) print(`removed ${printable(`${name}@${each}`)}\n`);
    return 0;
  }
  const { fancy, env } = context;
  const progress = startProgress(process.stderr, { fancy, title: name, env });
  const show = (fraction: number | null): void => progress.update({ label: "rolling back", fraction });
  if (fancy) show(null);
  const request = { name, snapshot: snapshot ?? null, undo, restart, timeout: timeoutOrNull(options.timeout) };
  const { kept, restarted } = await rollBack(context, request, fancy ? show : undefined).finally(() => progress.end());
  if (json) printJson({ kept, restarted });
  else
    print(
      `what was there is ${name}@${kept}; berth rollback --undo ${restarted ? "--restart " : ""}${name} goes back, --confirm removes it\n`,
    );
  return 0;
}
