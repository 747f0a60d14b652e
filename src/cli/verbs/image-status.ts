import type { Command } from "commander";
import { BerthError } from "../../errors.ts";
import type { PartitionView } from "../../host/open-tree.ts";
import type { ImageInfo } from "../../image/image.ts";
import { ImageStore } from "../../image/store.ts";
import { visible } from "../../spec/quote.ts";
import { oneByOne } from "../each-machine.ts";
import { imageFields, showTime } from "../image-fields.ts";
import { print, printJson } from "../output.ts";
import { formatBytes } from "../sizes.ts";
import type { Context, Runner } from "../verb.ts";

const PATIENCE = 10_000;

export function define(program: Command, run: Runner): void {
  program
    .command("image-status")
    .summary("show one image")
    .description("Shows what each image is, what is in it, and what it takes on the disk.")
    .argument("<name...>", "the images")
    .option("--json", "print as JSON")
    .action(run(imageStatus));
}

async function imageStatus({ paths }: Context, names: string[], options: { json?: boolean }): Promise<number> {
  const store = new ImageStore(paths);
  const told: object[] = [];
  const status = await oneByOne(names, async (name) => {
    await store.measure([name], PATIENCE);
    const image = { ...store.get(name), why: await store.whyNow(name) };
    const inside = await lookInside(store, image);
    if (options.json === true) told.push({ ...imageFields(image), ...inside });
    else print(page(image, inside));
  });
  if (options.json === true) printJson(told);
  return status;
}

interface Inside {
  readonly os: string | null;
  readonly hostname: string | null;
  readonly machineId: string | null;
  /** Of a disk image; null: of others there are none. */
  readonly partitions: readonly PartitionView[] | null;
  /** Why nothing is known of that. */
  readonly problem: string | null;
}

async function lookInside(store: ImageStore, { name, type }: ImageInfo): Promise<Inside> {
  try {
    const { osRelease, hostname, machineId, partitions } = await store.inside(name);
    const { PRETTY_NAME, NAME, ID } = osRelease;
    return {
      os: PRETTY_NAME ?? NAME ?? ID ?? null,
      hostname,
      machineId,
      partitions: type === "raw" ? partitions : null,
      problem: null,
    };
  } catch (error) {
    // A disk may have anything in it; what is known of the file is told all the same.
    if (type !== "raw" || !(error instanceof BerthError)) throw error;
    return { os: null, hostname: null, machineId: null, partitions: null, problem: error.message };
  }
}

function partitionRow({ number, label, size, fileSystem, mountedOn }: PartitionView): readonly [string, string] {
  const what = [formatBytes(size), fileSystem ?? "empty", ...(label === "" ? [] : [`"${label}"`])].join(" ");
  return [`Part ${number}`, `${what}${mountedOn === null ? "" : ` on ${mountedOn}`}`];
}

function page(image: ImageInfo, { os, hostname, machineId, partitions, problem }: Inside): string {
  const rows: readonly (readonly [string, string | null])[] = [
    ["Type", `${image.type}, ${image.why}`],
    ["Path", image.path],
    ["Parent", image.parent],
    ...image.layers.map((layer, index): [string, string] => [index === 0 ? "Layers" : "", layer]),
    ["Problem", problem],
    ["OS", os],
    ["Hostname", hostname],
    ["ID", machineId],
    ["RO", image.readOnly ? "read-only" : "writable"],
    ["Created", showTime(image.created)],
    ["Modified", image.modified === null ? null : showTime(image.modified)],
    ["Usage", formatBytes(image.usage)],
    ["Limit", image.limit === null ? null : formatBytes(image.limit)],
    ...(partitions ?? []).map(partitionRow),
  ];
  const lines = rows.flatMap(([key, value]) => (value === null ? [] : [`  ${key.padEnd(8)} ${visible(value)}\n`]));
  return `${image.name}\n${lines.join("")}`;
}
