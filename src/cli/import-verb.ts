import type { Command } from "commander";
import { UsageError } from "../errors.ts";
import { ImageStore } from "../image/store.ts";
import { requireName } from "../spec/name.ts";
import type { Transfer } from "../transfer/transfer.ts";
import { type NewImage, Transfers } from "../transfer/transfers.ts";
import { followTransfer } from "./follow-transfer.ts";
import { imageFields } from "./image-fields.ts";
import { print, printJson } from "./output.ts";
import type { Context } from "./verb.ts";

/** What the verbs that make an image of something have in common. */

export interface ImportOptions {
  readonly readOnly?: boolean;
  readonly force?: boolean;
  readonly json?: boolean;
}

export function addImportOptions(command: Command): Command {
  return command
    .argument("[name]", "the image; by default it is named after that, and its name is printed")
    .option("--read-only", "mark it read-only")
    .option("--force", "in place of an image of that name, which no machine may run from")
    .option("--json", "print the image as JSON");
}

export interface ChosenImage extends NewImage {
  /** Nobody gave it that name: who asked for it is told. */
  readonly nameIsDerived: boolean;
}

/** `derived`: the name where none is given. */
export function newImage(name: string | undefined, derived: string, options: ImportOptions): ChosenImage {
  const chosen = name ?? derived;
  if (chosen === "") throw new UsageError("the image needs a name here", "give it as the last argument");
  requireName(chosen);
  return {
    ...{ name: chosen, readOnly: options.readOnly === true, replace: options.force === true },
    nameIsDerived: name === undefined,
  };
}

/** The image that was made, as JSON or, where that is news, its name. */
export function printImage(store: ImageStore, image: ChosenImage, { json }: ImportOptions): void {
  if (json === true) printJson(imageFields(store.get(image.name)));
  else if (image.nameIsDerived) print(`${image.name}\n`);
}

export async function makeByTransfer(
  context: Context,
  image: ChosenImage,
  options: ImportOptions,
  start: (transfers: Transfers) => Transfer,
): Promise<number> {
  const store = new ImageStore(context.paths);
  const transfers = new Transfers(store);
  await followTransfer(transfers, start(transfers), context);
  printImage(store, image, options);
  return 0;
}
