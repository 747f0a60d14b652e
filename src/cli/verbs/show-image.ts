import type { Command } from "commander";
import { imageOrigin } from "../../bootstrap/image-origin.ts";
import type { Lock } from "../../bootstrap/lock.ts";
import { BerthError } from "../../errors.ts";
import type { PartitionView } from "../../host/open-tree.ts";
import type { ImageInfo } from "../../image/image.ts";
import { ImageStore, type Pool } from "../../image/store.ts";
import { visible } from "../../spec/quote.ts";
import { oneByOne } from "../each-machine.ts";
import { imageFields, microseconds } from "../image-fields.ts";
import { print, printJson } from "../output.ts";
import { addPropertyOptions, type PropertyOptions, spelledOut } from "../property-options.ts";
import type { Context, Runner } from "../verb.ts";

const PATIENCE = 10_000;

interface Options extends PropertyOptions {
  readonly json?: boolean;
}

export function define(program: Command, run: Runner): void {
  const command = program
    .command("show-image")
    .summary("print properties of images")
    .description("Prints the properties of each image as NAME=VALUE lines, or, without an image, of the store.")
    .argument("[name...]", "the images");
  addPropertyOptions(command).option("--json", "print as JSON").action(run(showImage));
}

async function showImage({ paths }: Context, names: string[], given: Options): Promise<number> {
  const options = spelledOut(given);
  const store = new ImageStore(paths);
  const documents: object[] = [];
  const texts: string[] = [];
  if (names.length === 0) {
    const pool = await store.pool(PATIENCE);
    documents.push(pool);
    texts.push(lines(poolProperties(pool), options));
  }
  const status = await oneByOne(names, async (name) => {
    await store.measure([name], PATIENCE);
    const image = { ...store.get(name), why: await store.whyNow(name) };
    const origin = imageOrigin(paths, name);
    const partitions = await partitionsOf(store, image);
    const more = { ...(partitions && { partitions }) };
    documents.push({ ...imageFields(image), origin: origin === null ? null : originFields(origin), ...more });
    texts.push(
      lines(
        {
          ...{ ...imageProperties(image), Origin: origin === null ? null : showOrigin(origin) },
          ...partitionProperties(partitions),
        },
        options,
      ),
    );
  });
  if (options.json === true) printJson(names.length > 1 ? documents : documents[0]);
  else print(texts.join("\n"));
  return status;
}

/** Null: it has none, or none that can be read. */
async function partitionsOf(store: ImageStore, { name, type }: ImageInfo): Promise<readonly PartitionView[] | null> {
  if (type !== "raw") return null;
  try {
    return (await store.inside(name)).partitions;
  } catch (error) {
    if (error instanceof BerthError) return null;
    throw error;
  }
}

function partitionProperties(partitions: readonly PartitionView[] | null): Properties {
  if (partitions === null || partitions.length === 0) return {};
  const rows = partitions.map(({ number, fileSystem, size, mountedOn }) =>
    [number, fileSystem ?? "-", size, mountedOn ?? "-"].join(":"),
  );
  return { Partitions: rows.join(" ") };
}

type Properties = Readonly<Record<string, string | number | null>>;

/** By the names that org.freedesktop.machine1 has for them; times are microseconds since the epoch, as there. */
function imageProperties(image: ImageInfo): Properties {
  return {
    ...{ Name: image.name, Path: image.path, Type: image.type, ReadOnly: image.readOnly ? "yes" : "no" },
    ...{ CreationTimestamp: microseconds(image.created), ModificationTimestamp: microseconds(image.modified) },
    ...{ Usage: image.usage, Limit: image.limit },
    ...{ UsageExclusive: image.usageExclusive, LimitExclusive: image.limitExclusive },
    ...{
      Parent: image.parent,
      Layers: image.layers.length === 0 ? null : image.layers.join(" "),
      Driver: image.driver,
      Why: image.why,
    },
  };
}

function originFields({ recipe, release, architecture, tool, created, packages }: Lock) {
  return { recipe, release, architecture, tool, created, packages: Object.keys(packages).length };
}

function showOrigin({ recipe, release, created, packages, tool }: Lock): string {
  return `${recipe}/${release}, ${Object.keys(packages).length} packages by ${tool} on ${created.slice(0, 10)}`;
}

function poolProperties({ path, usage, limit }: Pool): Properties {
  return { PoolPath: path, PoolUsage: usage, PoolLimit: limit };
}

function lines(properties: Properties, { property, all = false, value = false }: Options): string {
  return Object.entries(properties)
    .filter(([name, known]) => (property === undefined ? all || known !== null : property.includes(name)))
    .map(([name, known]) => `${value ? "" : `${name}=`}${visible(String(known ?? ""))}\n`)
    .join("");
}
