import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import { INSTALLATION } from "../../host/installation.ts";
import { type Prepared, prepare as prepareMachine } from "../../machine/prepare.ts";
import { lastReadyStart, planAgain } from "../../machine/ready-start.ts";
import { diffPlans } from "../../plan/diff.ts";
import { changeJson, diffText, planJson, planText } from "../../plan/show.ts";
import { afterBoot } from "../../spec/after-boot.ts";
import { showProblem } from "../../spec/problem.ts";
import { visible } from "../../spec/quote.ts";
import { print, printJson, say } from "../output.ts";
import { addStartOptions, requestFrom, type StartOptions, spellOutOptionalValues } from "../start-options.ts";
import { type Context, type Runner, withoutDashes } from "../verb.ts";

const FLAGS: ReadonlySet<string> = new Set(["--json", "--diff", "-q", "--quiet"]);

/** `plan NAME` is -M NAME, planned as `berth start` would boot it; options may follow the name, and flags precede it. */
export function prepare(words: readonly string[]): readonly string[] {
  const at = words.findIndex((word) => !FLAGS.has(word));
  const name = words[at];
  const named = name !== undefined && !name.startsWith("-");
  return spellOutOptionalValues(named ? ["--machine", name, "--as-start", ...words.toSpliced(at, 1)] : words);
}

export function define(program: Command, run: Runner, words?: readonly string[]): void {
  const command = program
    .command("plan")
    .summary("show what a start would do, without doing it")
    .description(
      "Prints the steps of a machine's start in order, one a line: number, who does it, what, and the setting that " +
        "asked for it. Nothing is started and root is not needed. `berth run` takes the same options.",
    )
    .usage("[NAME] [OPTION...] [COMMAND...]")
    .argument("[command...]", "what would run, or with -b arguments for the init")
    .option("--diff", "what has changed since its last ready start")
    .option("--json", "print the plan, or the changes, as JSON")
    .option("--as-start", "as berth start would boot it; NAME implies it")
    .passThroughOptions();
  const options = addStartOptions(command, words);
  command.action(run((context, words: string[], flags: Flags) => showPlan(context, options, words, flags)));
}

interface Flags {
  readonly json?: boolean;
  readonly asStart?: boolean;
  readonly diff?: boolean;
}

async function showPlan(
  context: Context,
  options: StartOptions,
  words: readonly string[],
  { json, asStart, diff }: Flags,
): Promise<number> {
  if (options.cleanup === true) throw new UsageError("--cleanup starts nothing: there is nothing to plan");
  const request = requestFrom(options, withoutDashes(words), asStart === true);
  const prepared = prepareMachine(request, context.paths, INSTALLATION);
  for (const warning of prepared.warnings) say(`berth: ${visible(showProblem(warning))}\n`);
  if (asStart === true) for (const line of afterBoot(prepared.spec)) say(`berth: berthd minds ${visible(line)}\n`);
  if (diff === true) {
    if (asStart !== true)
      throw new UsageError("--diff is of a machine that berth start boots", "berth plan NAME --diff");
    await showDiff(prepared, context, json === true);
    return 0;
  }
  const { plan, input } = await prepared.plan({ foreground: true, stdio: "console", term: null });
  if (!input.machine.tree.readable)
    say(`berth: ${prepared.spec.root.value} can't be read without root: planned as for a Debian tree\n`);
  if (json) printJson(planJson(plan));
  else print(planText(plan));
  return 0;
}

async function showDiff(prepared: Prepared, { paths }: Context, json: boolean): Promise<void> {
  const { name } = prepared.spec;
  const before = lastReadyStart(name, paths);
  const { plan: after } = await planAgain(prepared, before);
  const changes = diffPlans(before.plan, after);
  const began = new Date(before.record.times.began).toISOString();
  if (json) printJson({ machine: name, boot: before.boot, began, changes: changes.map(changeJson) });
  else if (changes.length === 0) say(`berth: nothing has changed since boot ${before.boot} of ${began}\n`);
  else print(`changes since boot ${before.boot} of ${began}:\n${diffText(changes)}`);
}
