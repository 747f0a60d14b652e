import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import type { MachineDetails } from "../../manager/machine-details.ts";
import { suggest } from "../../spec/nearest.ts";
import { printable, visible, visibleJson } from "../../spec/quote.ts";
import { machineDetails } from "../details.ts";
import { oneByOne } from "../each-machine.ts";
import { print } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("show")
    .summary("print properties of machines")
    .description(
      "Prints the properties of each machine, whether it runs or not, as NAME=VALUE lines: what list shows, its id, settings, limits, " +
        "what it takes just now, and how it ended.",
    )
    .argument("<name...>", "the machines")
    .option("-p, --property <name>", "only this one; may be given several times", (name, before: string[] = []) => [
      ...before,
      ...name.split(","),
    ])
    .option("-a, --all", "also those that are not known or empty")
    .option("--value", "the values alone")
    .option("--json", "print as JSON: an object, of several machines an array")
    .action(run(show));
}

interface Options {
  readonly property?: readonly string[];
  readonly all?: boolean;
  readonly value?: boolean;
  readonly json?: boolean;
}

async function show(context: Context, names: string[], options: Options): Promise<number> {
  const told: object[] = [];
  const texts: string[] = [];
  const status = await oneByOne(names, async (name) => {
    const details = await machineDetails(context, name);
    const wanted = choose(details, options.property);
    if (options.json === true) told.push(wanted);
    else texts.push(lines(properties(wanted), options));
  });
  if (options.json === true) print(`${visibleJson(names.length === 1 ? (told[0] ?? null) : told, 2)}\n`);
  else print(texts.join("\n"));
  return status;
}

/** `Leader` of machinectl(1) is our `leader`. @throws UsageError for one that there is not */
function choose(details: MachineDetails, names: readonly string[] | undefined): Partial<MachineDetails> {
  if (names === undefined) return details;
  const known = Object.keys(details);
  const chosen = names.map((name) => {
    const found = known.find((key) => key.toLowerCase() === name.toLowerCase());
    if (found !== undefined) return found;
    throw new UsageError(
      `${printable(name)} is no property of a machine`,
      suggest(name, known) ?? `there are: ${known.join(" ")}`,
    );
  });
  const values = new Map<string, unknown>(Object.entries(details));
  return Object.fromEntries(chosen.map((key) => [key, values.get(key)]));
}

type Property = readonly [string, string];

/** `usage: { memory }` is UsageMemory; of what there may be several each is one of the same name. */
function properties(value: object, prefix = ""): readonly Property[] {
  return Object.entries(value).flatMap(([key, part]: [string, unknown]) => {
    const name = `${prefix}${key.charAt(0).toUpperCase()}${key.slice(1)}`;
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
