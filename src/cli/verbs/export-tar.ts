import type { Command } from "commander";
import { addExportOptions, type ExportOptions, exportByTransfer } from "../export-verb.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  const command = program
    .command("export-tar")
    .summary("write an image to a tar archive")
    .description(
      "Packs the tree of image NAME, also while a machine runs from it, but for a disk image that one may be changing. A file " +
        "appears when it is whole, readable by its owner alone.",
    );
  addExportOptions(command, "the archive").action(run(exportTar));
}

function exportTar(context: Context, name: string, file = "-", options: ExportOptions): Promise<number> {
  return exportByTransfer(context, name, file, options, (transfers, { fd, format, remote }) =>
    transfers.exportTar(name, fd, format, remote),
  );
}
