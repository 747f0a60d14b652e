import type { Command } from "commander";
import { diskNameOf } from "../../transfer/compression.ts";
import { openInput } from "../../transfer/files.ts";
import { addImportOptions, type ImportOptions, makeByTransfer, newImage } from "../import-verb.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  const command = program
    .command("import-raw")
    .summary("make an image of a disk image")
    .description(
      "Copies a disk image, compressed by gzip, xz, zstd or bzip2 or not at all, into image NAME, with holes where there are " +
        "zeros. One of the format qcow2 is converted, where qemu-img is installed. A cut or damaged one, and one that leaves no " +
        "room on the disk, leaves nothing behind. What no machine could run from is kept all the same, and said.",
    )
    .argument("<file>", "the disk image; - for standard input");
  addImportOptions(command).action(run(importRaw));
}

async function importRaw(
  context: Context,
  file: string,
  name: string | undefined,
  options: ImportOptions,
): Promise<number> {
  const image = newImage(name, file === "-" ? "" : diskNameOf(file), options);
  return makeByTransfer(context, image, options, (transfers) =>
    transfers.importRaw(openInput(file), image, file === "-" ? "" : file),
  );
}
