import type { Command } from "commander";
import { splitSnapshotName } from "../../image/snapshots/snapshot.ts";
import { Snapshots } from "../../image/snapshots/snapshots.ts";
import { ImageStore } from "../../image/store.ts";
import { forgetMachine } from "../forget-machine.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("rename")
    .summary("give an image another name")
    .description(
      "Renames image NAME to NEW, with its settings, snapshots and range of ids; no machine may run from it. Of NAME@SNAPSHOT " +
        "renames that snapshot.",
    )
    .argument("<name>", "the image")
    .argument("<new>", "its new name")
    .action(run(rename));
}

async function rename({ paths }: Context, name: string, to: string): Promise<number> {
  const store = new ImageStore(paths);
  const snapshot = splitSnapshotName(name);
  if (snapshot !== null) {
    await new Snapshots(store).rename(snapshot.image, snapshot.snapshot, to);
    return 0;
  }
  await store.rename(name, to);
  await forgetMachine(name, paths);
  return 0;
}
