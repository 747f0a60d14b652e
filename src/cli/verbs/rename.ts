import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import { splitSnapshotName } from "../../image/snapshots/snapshot.ts";
import { Snapshots } from "../../image/snapshots/snapshots.ts";
import { ImageStore } from "../../image/store.ts";
import { quote } from "../../spec/quote.ts";
import { forgetMachine } from "../forget-machine.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("rename")
    .summary("give an image another name")
    .description(
      "Renames image NAME to NEW, with its settings, snapshots and range of ids; no machine may run from it. Of NAME@SNAPSHOT " +
        "renames that snapshot, to a name or NAME@NEW.",
    )
    .argument("<name>", "the image")
    .argument("<new>", "its new name")
    .action(run(rename));
}

async function rename({ paths }: Context, name: string, to: string): Promise<number> {
  const store = new ImageStore(paths);
  const snapshot = splitSnapshotName(name);
  if (snapshot !== null) {
    const wanted = splitSnapshotName(to);
    if (wanted !== null && wanted.image !== snapshot.image)
      throw new UsageError(
        `a snapshot of ${quote(snapshot.image)} can't become one of ${quote(wanted.image)}`,
        `berth clone ${name} NEW makes an image of it`,
      );
    await new Snapshots(store).rename(snapshot.image, snapshot.snapshot, wanted?.snapshot ?? to);
    return 0;
  }
  await store.rename(name, to);
  await forgetMachine(name, paths);
  return 0;
}
