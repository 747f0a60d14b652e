import type { Command } from "commander";
import { imageNameOf } from "../../transfer/compression.ts";
import { openInput } from "../../transfer/files.ts";
import { addImportOptions, type ImportOptions, makeByTransfer, newImage } from "../import-verb.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  const command = program
    .command("import-tar")
    .summary("make an image of a tar archive")
    .description(
      "Unpacks an archive, compressed by gzip, xz, zstd or bzip2 or not at all, into image NAME. What is in it can write " +
        "nowhere else. A cut, damaged or empty one, and one that leaves no room on the disk, leaves nothing behind.",
    )
    .argument("<file>", "the archive; - for standard input");
  addImportOptions(command).action(run(importTar));
}

async function importTar(
  context: Context,
  file: string,
  name: string | undefined,
  options: ImportOptions,
): Promise<number> {
  const image = newImage(name, file === "-" ? "" : imageNameOf(file), options);
  return makeByTransfer(context, image, options, (transfers) =>
    transfers.importTar(openInput(file), image, file === "-" ? "" : file),
  );
}
