import type { Command } from "commander";
import { splitSnapshotName } from "../../image/snapshots/snapshot.ts";
import { Snapshots } from "../../image/snapshots/snapshots.ts";
import { ImageStore } from "../../image/store.ts";
import { oneByOne } from "../each-machine.ts";
import { forgetMachine } from "../forget-machine.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("remove")
    .summary("remove images for good")
    .description(
      "Removes each image with its settings, or of NAME@SNAPSHOT that snapshot. An image that a machine runs from, or that " +
        "has snapshots, is left alone.",
    )
    .argument("<name...>", "the images")
    .option("--snapshots", "images with their snapshots")
    .action(run(remove));
}

async function remove({ paths }: Context, names: string[], options: { snapshots?: boolean }): Promise<number> {
  const store = new ImageStore(paths);
  return oneByOne(names, async (name) => {
    const snapshot = splitSnapshotName(name);
    if (snapshot !== null) return new Snapshots(store).remove(snapshot.image, snapshot.snapshot);
    await store.remove(name, options.snapshots === true);
    await forgetMachine(name, paths);
  });
}
