import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import { HOST_IMAGE, type ImageInfo, isHidden } from "../../image/image.ts";
import { ImageStore } from "../../image/store.ts";
import { quote } from "../../spec/quote.ts";
import { splitRemote } from "../../transfer/remote-name.ts";
import { imageFields, microseconds, showTime } from "../image-fields.ts";
import { printJson } from "../output.ts";
import { formatBytes } from "../sizes.ts";
import { addTableOptions, printTable, type TableOptions } from "../table-options.ts";
import type { Context, Runner } from "../verb.ts";

/** ms that counting what images use may take; what is not known by then is shown as "-". */
const PATIENCE = 3000;

interface Options extends TableOptions {
  readonly all?: boolean;
  readonly json?: boolean;
  readonly arch?: string;
}

export function define(program: Command, run: Runner): void {
  const command = program
    .command("list-images")
    .alias("images")
    .summary("show machine images")
    .description(
      "Shows the trees and disk images of this root, whether a machine runs from them or not; or what an image server has.",
    )
    .argument("[remote:filter]", "a server (berth remote list), and what has to be in an image's alias or description")
    .option(
      "-a, --all",
      "hidden ones too, whose names begin with a dot, and the host's own tree; of a server all architectures",
    )
    .option("--arch <ARCH>", "of a server: another architecture than this host's");
  addTableOptions(command).option("--json", "print as JSON").action(run(listImages));
}

async function listImages(context: Context, where: string | undefined, options: Options): Promise<number> {
  if (where === undefined) return listOwn(context, options);
  const split = splitRemote(where);
  if (split === undefined)
    throw new UsageError(
      `${quote(where)} is no remote`,
      "as in images: or images:debian; show-image shows one of this root",
    );
  const { listRemoteImages } = await import("../remote-images.ts");
  await listRemoteImages(context, split, options);
  return 0;
}

async function listOwn({ paths }: Context, options: Options): Promise<number> {
  const { all = false, json = false } = options;
  const store = new ImageStore(paths);
  const names = store
    .list()
    .map(({ name }) => name)
    .filter((name) => all || !isHidden(name));
  await store.measure(
    names.filter((name) => name !== HOST_IMAGE),
    PATIENCE,
  );
  const images = store.list().filter(({ name }) => names.includes(name));
  if (json) printJson(images.map(imageFields));
  else printTable({ header: HEADER, rows: images.map(row), records: images.map(record), none: "no images" }, options);
  return 0;
}

const HEADER = ["NAME", "TYPE", "RO", "USAGE", "CREATED", "MODIFIED"];

/** As machinectl(1): times are microseconds since the epoch. */
function record({ name, type, readOnly: ro, usage, created, modified }: ImageInfo) {
  return { name, type, ro, usage, created: microseconds(created), modified: microseconds(modified) };
}

function row({ name, type, readOnly, usage, created, modified }: ImageInfo): readonly string[] {
  return [name, type, readOnly ? "yes" : "no", formatBytes(usage), showTime(created), showTime(modified)];
}
