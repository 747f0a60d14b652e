import { resolve } from "node:path";
import type { Command } from "commander";
import { imageNameOf } from "../../transfer/compression.ts";
import { openInputDirectory } from "../../transfer/files.ts";
import { addImportOptions, type ImportOptions, makeByTransfer, newImage } from "../import-verb.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  const command = program
    .command("import-fs")
    .summary("make an image of a directory")
    .description("Copies a directory, without what is mounted below it, to image NAME.")
    .argument("<directory>", "what to copy");
  addImportOptions(command).action(run(importFs));
}

async function importFs(
  context: Context,
  from: string,
  name: string | undefined,
  options: ImportOptions,
): Promise<number> {
  const image = newImage(name, imageNameOf(resolve(from)), options);
  return makeByTransfer(context, image, options, (transfers) =>
    transfers.importFs(openInputDirectory(from), image, from),
  );
}
