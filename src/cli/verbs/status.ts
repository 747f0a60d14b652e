import { join } from "node:path";
import type { Command } from "commander";
import { lastEndedBoot } from "../../machine/ended-boot.ts";
import { findMachine } from "../../machine/find-machine.ts";
import { inspect } from "../../machine/inspect.ts";
import { recordsDirectory } from "../../machine/places.ts";
import { lookUp } from "../../machine/record.ts";
import type { MachineDetails } from "../../manager/machine-details.ts";
import { consoleTail } from "../../supervise/console-log.ts";
import { machineDetails } from "../details.ts";
import { oneByOne } from "../each-machine.ts";
import { lineCount } from "../line-count.ts";
import { print, printJson } from "../output.ts";
import { type Inside, statusPage } from "../status-page.ts";
import { outputMode } from "../table-options.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("status")
    .summary("show one machine")
    .description(
      "Shows each machine: what runs in it, the state of its init, how its boot went, what it takes, where it is, and its last lines on the " +
        "console; of one that does not run, why. Exit status 3 if one does not run. What root alone may know others are not told.",
    )
    .argument("<name...>", "the machines")
    .option("-n, --lines <NUMBER>", "how many lines of its console", "5")
    .option("-o, --output <MODE>", "with json the same as --json; other modes of machinectl(1) change nothing")
    .option("--json", "print as JSON: an object, of several machines an array")
    .action(run(status));
}

/** As systemctl status has it. */
const NOT_RUNNING = 3;

interface Options {
  readonly lines: string;
  readonly output?: string;
  readonly json?: boolean;
}

async function status(context: Context, names: string[], options: Options): Promise<number> {
  const count = lineCount(options.lines);
  const json = outputMode(options.output) !== "text" || options.json === true;
  const told: object[] = [];
  let [running, pages] = [0, 0];
  const failed = await oneByOne(names, async (name) => {
    const details = await machineDetails(context, name);
    const inside = await lookInside(details, context, count);
    const { record, inspection, console } = inside ?? {};
    if (["stopped", "failed"].includes(details.state)) running = NOT_RUNNING;
    if (json) told.push({ ...details, ...record, ...inspection, state: details.state, console: console ?? null });
    else print(`${pages++ > 0 ? "\n" : ""}${statusPage(details, inside)}`);
  });
  if (json) printJson(names.length === 1 ? (told[0] ?? null) : told);
  return failed || running;
}

/** Null for who is not root. @throws BerthError about a machine of which nothing can be told, or that is between two boots */
async function lookInside({ name }: MachineDetails, { paths }: Context, lines: number): Promise<Inside | null> {
  if (process.geteuid?.() !== 0) return null;
  if (lookUp(name, paths) === null) {
    const last = lastEndedBoot(name, paths);
    return { record: null, inspection: null, console: last === null ? [] : tail(last.directory, lines) };
  }
  const record = findMachine(name, paths);
  const inspection = await inspect(record, paths);
  return { record, inspection, console: tail(join(recordsDirectory(paths), name), lines) };
}

function tail(directory: string, lines: number): readonly string[] {
  return lines === 0 ? [] : consoleTail(directory, lines);
}
