import type { Command } from "commander";
import { timeSpan } from "../../config/values-time.ts";
import { UsageError } from "../../errors.ts";
import { findMachine } from "../../machine/find-machine.ts";
import type { Applied, ShownDifference } from "../../manager/applies.ts";
import { requireManaged } from "../../manager/differences.ts";
import { printable, visible } from "../../spec/quote.ts";
import { needDaemon } from "../daemon-start.ts";
import { print, printJson, say } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("apply")
    .summary("bring a running machine in line with its settings")
    .description(
      "Compares a running machine with its settings as they are now, and makes what can be made while it runs: new binds of the host's directories, binds that apply made " +
        "before and that are to go, [Machine], and KillSignal=. The rest is listed: what needs a restart, and what somebody has changed in it that no setting asks for, which is left alone. " +
        "Where one change fails, none is made.",
    )
    .argument("<name>", "the machine")
    .option("--dry-run", "list the differences, and change nothing")
    .option(
      "--confirm-within <TIME>",
      "take it back after that time, such as 60s, unless it is confirmed; where berthd ends meanwhile the next one does",
    )
    .option("--confirm", "what was applied with --confirm-within stays")
    .option("--revert", "what was applied with --confirm-within is taken back now")
    .option("--json", "print as JSON")
    .action(run(apply));
}

interface Options {
  readonly dryRun?: boolean;
  readonly confirmWithin?: string;
  readonly confirm?: boolean;
  readonly revert?: boolean;
  readonly json?: boolean;
}

async function apply({ paths, env }: Context, name: string, options: Options): Promise<number> {
  const { dryRun = false, confirm = false, revert = false, json = false } = options;
  const within = options.confirmWithin === undefined ? null : milliseconds(options.confirmWithin);
  if ([dryRun || within !== null, confirm, revert].filter(Boolean).length > 1)
    throw new UsageError("--confirm and --revert end what was begun before, and go with nothing else");
  requireManaged(findMachine(name, paths));
  const client = await needDaemon(paths, env);
  try {
    if (confirm || revert) {
      await client.call("endApply", { name, keep: confirm });
      return 0;
    }
    const result = await client.call("apply", { name, dryRun, within });
    if (json) printJson(result);
    else show(result, options.confirmWithin);
    return 0;
  } finally {
    client.close();
  }
}

const TIME_MAX = 2 ** 31 - 1;

function milliseconds(text: string): number {
  const refuse = (expected = "a time such as 60s or 2min"): never => {
    throw new UsageError(`--confirm-within=${printable(text)} is no time span`, expected);
  };
  const time = timeSpan(text, ({ expected }) => refuse(expected));
  if (time === undefined || time === 0) return refuse();
  return Math.min(time, TIME_MAX);
}

function show({ machine, differences, applied, confirmBy }: Applied, within: string | undefined): void {
  if (differences.length === 0) {
    say(`berth: machine ${machine} runs as its settings say\n`);
    return;
  }
  print(differences.map((each) => `${visible(line(each, applied))}\n`).join(""));
  if (confirmBy !== null)
    say(`berth: taken back in ${printable(within ?? "")}, unless you confirm: berth apply ${machine} --confirm\n`);
}

function line({ kind, what, source }: ShownDifference, applied: boolean): string {
  const state = { live: applied ? "applied" : "live", restart: "needs a restart", outside: "changed outside" }[kind];
  return `${state.padEnd(15)}  ${what}${source === null || source === "default" ? "" : `  [${source}]`}`;
}
