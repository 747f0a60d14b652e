import type { Command } from "commander";
import { UsageError } from "../errors.ts";
import { printable, visibleJson } from "../spec/quote.ts";
import { print, say } from "./output.ts";
import { type Cell, table } from "./table.ts";

/** How verbs that print a table do it, by machinectl(1)'s options. */
export interface TableOptions {
  readonly legend?: boolean;
  readonly quiet?: boolean;
  readonly output?: string;
}

export interface Table {
  readonly header: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
  /** The same for programs: by the columns' names, in small letters. */
  readonly records: readonly object[];
  /** What is said where there is no row. */
  readonly none: string;
}

export function addTableOptions(command: Command): Command {
  return command
    .option("--no-legend", "without the line of column names")
    .option("-q, --quiet", "say nothing where there is nothing to show")
    .option("-o, --output <MODE>", "with json or json-pretty the table's columns as JSON, as machinectl(1) has it");
}

export function printTable({ header, rows, records, none }: Table, options: TableOptions): void {
  const { legend = true, quiet = false } = options;
  const mode = outputMode(options.output);
  if (mode !== "text") print(`${visibleJson(records, mode === "json" ? undefined : 2)}\n`);
  else if (rows.length > 0) print(table(legend ? header : [], rows));
  else if (legend && !quiet) say(`${none}\n`);
}

const OUTPUT_MODES =
  "short short-full short-iso short-iso-precise short-precise short-monotonic short-unix short-delta " +
  "json json-pretty json-sse json-seq cat verbose export with-unit";

/** The value of -o: those of journalctl(1). Here they are text or JSON. */
export function outputMode(text = "short"): "text" | "json" | "json-pretty" {
  if (!OUTPUT_MODES.split(" ").includes(text))
    throw new UsageError(`--output=${printable(text)}: unknown mode`, "json, json-pretty, or short: as a table");
  if (!text.startsWith("json")) return "text";
  return text === "json-pretty" ? "json-pretty" : "json";
}
