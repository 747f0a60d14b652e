import type { Command } from "commander";
import type { SnapshotInfo } from "../../image/snapshots/snapshot.ts";
import { openSnapshots } from "../../image/snapshots/snapshots.ts";
import { oneByOne } from "../each-machine.ts";
import { showTime } from "../image-fields.ts";
import { print, printJson } from "../output.ts";
import { snapshotFields } from "../snapshots.ts";
import { table } from "../table.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("snapshots")
    .summary("show the snapshots of images")
    .description(
      "Shows the snapshots of each image, or of all, the oldest first. NAME@SNAPSHOT stands for one: berth clone makes an " +
        "image of it, berth export-tar an archive, berth rename and berth remove do that with it.",
    )
    .argument("[name...]", "the images")
    .option("--json", "print as JSON")
    .action(run(snapshots));
}

async function snapshots({ paths }: Context, names: string[], options: { json?: boolean }): Promise<number> {
  const all = openSnapshots(paths);
  const found: SnapshotInfo[] = [];
  const images = names.length > 0 ? names : all.images();
  const status = await oneByOne(images, async (name) => void found.push(...all.list(name)));
  if (options.json === true) printJson(found.map(snapshotFields));
  else if (found.length > 0) print(rows(found));
  return status;
}

function rows(found: readonly SnapshotInfo[]): string {
  return table(
    ["IMAGE", "SNAPSHOT", "TIME", "DRIVER", "MACHINE", "COMMENT"],
    found.map(({ image, name, time, driver, running, comment, replacedBy }) => [
      ...[image, name, showTime(time), driver, running ? "running" : "stopped"],
      replacedBy === null ? comment : `replaced by a rollback to ${replacedBy}`,
    ]),
  );
}
