import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import { ImageStore } from "../../image/store.ts";
import { compressionForFile, compressionNamed } from "../../transfer/compression.ts";
import { openOutput } from "../../transfer/files.ts";
import { Transfers } from "../../transfer/transfers.ts";
import { followTransfer } from "../follow-transfer.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("export-tar")
    .summary("write an image to a tar archive")
    .description(
      "Packs the tree of image NAME, also while a machine runs from it. A file appears when it is whole, readable by its " +
        "owner alone.",
    )
    .argument("<name>", "the image")
    .argument("[file]", "the archive; standard output without it, or for -")
    .option("--format <format>", "none, gzip, xz, zstd or bzip2; by default what the file's name ends with")
    .action(run(exportTar));
}

async function exportTar(context: Context, name: string, file = "-", options: { format?: string }): Promise<number> {
  const format = options.format === undefined ? compressionForFile(file) : compressionNamed(options.format);
  const store = new ImageStore(context.paths);
  store.get(name);
  if (file === "-" && process.stdout.isTTY)
    throw new UsageError("an archive is nothing for a terminal", "name a file, or redirect it");
  using output = openOutput(file);
  const transfers = new Transfers(store);
  const transfer = transfers.exportTar(name, output.fd, format, file === "-" ? "" : file);
  await followTransfer(transfers, transfer, context);
  output.commit();
  return 0;
}
