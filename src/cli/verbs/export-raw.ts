import type { Command } from "commander";
import { addExportOptions, type ExportOptions, exportByTransfer } from "../export-verb.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  const command = program
    .command("export-raw")
    .summary("write an image to a disk image")
    .description(
      "Copies image NAME, which has to be a disk image that no machine may be changing meanwhile. A file appears when it is " +
        "whole, readable by its owner alone; without compression it has the same holes.",
    );
  addExportOptions(command, "the disk image").action(run(exportRaw));
}

function exportRaw(context: Context, name: string, file = "-", options: ExportOptions): Promise<number> {
  return exportByTransfer(context, name, file, options, (transfers, { fd, format, remote }) =>
    transfers.exportRaw(name, fd, format, remote),
  );
}
