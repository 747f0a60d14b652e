import { setTimeout as sleep } from "node:timers/promises";
import { type Command, Option } from "commander";
import { requireName } from "../../spec/name.ts";
import { visibleJson } from "../../spec/quote.ts";
import { isTerminal } from "../../supervise/caller-terminal.ts";
import { machineDetails } from "../details.ts";
import { LoadSource } from "../load-source.ts";
import { print, printJson, say } from "../output.ts";
import { timeoutMs } from "../seconds.ts";
import { notRunning, TopLive } from "../top-live.ts";
import { type Order, SORT_KEYS, type SortKey, sortRows, type TopRow, TopRows } from "../top-rows.ts";
import { topTable } from "../top-table.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("top")
    .summary("show what machines take, live")
    .description(
      "Shows what running machines take just now, refreshed until q is typed: CPU, memory, tasks, disk traffic and, where the kernel counts it, pressure. " +
        "Enter opens a shell in the selected machine, s powers it off, ? tells all keys. Where stdin or stdout is no terminal it prints one table.",
    )
    .argument("[name...]", "the machines; default: all that run")
    .option("-d, --delay <SECONDS>", "time between two refreshes, and what rates are of", "1")
    .addOption(new Option("-s, --sort <KEY>", "what to sort by").choices(SORT_KEYS).default("cpu"))
    .option("--once", "print one table, of one delay, and end")
    .option("-f, --follow", "print a table, or with --json a line, after every delay until ^C")
    .option("--json", "print as JSON")
    .action(run(top));
}

interface Options {
  readonly delay: string;
  readonly sort: SortKey;
  readonly once?: boolean;
  readonly follow?: boolean;
  readonly json?: boolean;
}

/** ms: what is read more often is not news. */
const DELAY_MIN = 250;

async function top(context: Context, names: string[], options: Options): Promise<number> {
  const delay = Math.max(DELAY_MIN, timeoutMs(options.delay, "--delay"));
  const order: Order = { key: options.sort, inverse: false };
  for (const name of names) requireName(name);
  const source = new LoadSource(context);
  try {
    await checkRunning(context, source, names);
    const live = !options.once && !options.follow && !options.json && isTerminal(0) && isTerminal(1);
    if (live && context.env["TERM"] !== "dumb") await new TopLive(context, source, { names, order, delay }).run();
    else await tables(context, source, { names, order, delay, json: options.json === true, follow: options.follow });
    return 0;
  } finally {
    source.close();
  }
}

/** A name that was mistyped is none that will run some time. */
async function checkRunning(context: Context, source: LoadSource, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const running = new Set((await source.read(names)).map(({ name }) => name));
  for (const name of names)
    if (!running.has(name)) {
      await machineDetails(context, name); // says so where there is none of that name
      throw notRunning(name);
    }
}

interface Printed {
  readonly names: readonly string[];
  readonly order: Order;
  readonly delay: number;
  readonly json: boolean;
  readonly follow: boolean | undefined;
}

async function tables(context: Context, source: LoadSource, options: Printed): Promise<void> {
  const { names, order, delay, json, follow } = options;
  const reckoning = new TopRows();
  reckoning.next(await source.read(names));
  do {
    await sleep(delay, undefined, { signal: context.signal });
    const rows = sortRows(reckoning.next(await source.read(names)), order);
    if (json) printDocument(rows, follow === true);
    else printTable(rows, order);
  } while (follow === true);
}

function printDocument(rows: readonly TopRow[], follow: boolean): void {
  const document = { time: new Date().toISOString(), machines: rows.map(({ history: _, ...row }) => row) };
  if (follow) print(`${visibleJson(document)}\n`);
  else printJson(document);
}

function printTable(rows: readonly TopRow[], { key }: Order): void {
  if (rows.length === 0) {
    say("no machines\n");
    return;
  }
  const { header, lines } = topTable(rows, { columns: undefined, sort: key, sparks: undefined });
  print(`${[header.replace("*", ""), ...lines].join("\n")}\n`);
}
