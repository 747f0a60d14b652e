import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import type { MachineDetails } from "../../manager/machine-details.ts";
import { suggest } from "../../spec/nearest.ts";
import { printable, visible } from "../../spec/quote.ts";
import { machineDetails } from "../details.ts";
import { oneByOne } from "../each-machine.ts";
import { print, printJson } from "../output.ts";
import { addPropertyOptions, type PropertyOptions, spelledOut } from "../property-options.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  const command = program
    .command("show")
    .summary("print properties of machines")
    .description(
      "Prints the properties of each machine, whether it runs or not, as NAME=VALUE lines: what list shows, its id, settings, limits, " +
        "what it takes just now, and how it ended. Without a machine those of the manager, which are its store's.",
    )
    .argument("[name...]", "the machines");
  addPropertyOptions(command)
    .option("--json", "print as JSON: an object, of several machines an array")
    .action(run(show));
}

interface Options extends PropertyOptions {
  readonly json?: boolean;
}

async function show(context: Context, names: string[], given: Options): Promise<number> {
  const options = spelledOut(given);
  if (names.length === 0) return showManager(context, options);
  const told: object[] = [];
  const texts: string[] = [];
  const status = await oneByOne(names, async (name) => {
    const details = await machineDetails(context, name);
    const wanted = choose(details, options.property, "a machine");
    if (options.json === true) told.push(wanted);
    else texts.push(lines(properties(wanted), options));
  });
  if (options.json === true) printJson(names.length === 1 ? (told[0] ?? null) : told);
  else print(texts.join("\n"));
  return status;
}

/** ms that counting what the store takes may take. */
const PATIENCE = 10_000;
/** How the bus says that there is no limit, or that nothing is known. */
const NONE = String(2n ** 64n - 1n);

async function showManager({ paths }: Context, options: Options): Promise<number> {
  const { ImageStore } = await import("../../image/store.ts");
  const { path, usage, limit } = await new ImageStore(paths).pool(PATIENCE);
  const wanted = choose({ poolPath: path, poolUsage: usage, poolLimit: limit }, options.property, "the manager");
  if (options.json === true) printJson(wanted);
  else
    print(
      lines(
        properties(wanted).map(([name, value]): Property => [name, value || NONE]),
        options,
      ),
    );
  return 0;
}

/** Names are as they are printed, or as JSON has them: `Leader` is our `leader`. @throws UsageError for one that there is not */
function choose<T extends object>(details: T, names: readonly string[] | undefined, of: string): Partial<T> {
  if (names === undefined) return details;
  const known = new Map(Object.keys(details).map((key) => [propertyName(key), key]));
  const chosen = names.map((name) => {
    const found = [...known].find(([printed]) => printed.toLowerCase() === name.toLowerCase());
    if (found !== undefined) return found[1];
    throw new UsageError(
      `${printable(name)} is no property of ${of}`,
      suggest(name, [...known.keys()]) ?? `there are: ${[...known.keys()].join(" ")}`,
    );
  });
  const values = new Map<string, unknown>(Object.entries(details));
  return Object.fromEntries(chosen.map((key) => [key, values.get(key)])) as Partial<T>;
}

function propertyName(key: string): string {
  return key.charAt(0).toUpperCase() + key.slice(1);
}

type Property = readonly [string, string];

/** `usage: { memory }` is UsageMemory; of what there may be several each is one of the same name. */
function properties(value: object, prefix = ""): readonly Property[] {
  return Object.entries(value).flatMap(([key, part]: [string, unknown]) => {
    const name = prefix + propertyName(key);
    if (key === "settings") return (part as MachineDetails["settings"]).map(settingProperty);
    if (Array.isArray(part))
      return part.length === 0 ? [[name, ""] as const] : part.map((each) => [name, String(each)] as const);
    if (typeof part === "object" && part !== null) return properties(part, name);
    return [[name, part === null || part === undefined ? "" : showValue(part)] as const];
  });
}

function showValue(value: unknown): string {
  return value === true ? "yes" : value === false ? "no" : String(value);
}

function settingProperty({ section, key, value }: MachineDetails["settings"][number]): Property {
  return ["Settings", `[${section}] ${key}=${value}`];
}

function lines(all: readonly Property[], { property, all: empty = false, value: bare = false }: Options): string {
  return all
    .filter(([, value]) => property !== undefined || empty || value !== "")
    .map(([name, value]) => `${bare ? "" : `${name}=`}${visible(value)}\n`)
    .join("");
}
