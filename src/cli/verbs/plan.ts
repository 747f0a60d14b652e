import type { Command } from "commander";
import { INSTALLATION } from "../../host/installation.ts";
import { prepare as prepareMachine } from "../../machine/prepare.ts";
import { planJson, planText } from "../../plan/show.ts";
import { showProblem } from "../../spec/problem.ts";
import { addStartOptions, requestFrom, type StartOptions, spellOutOptionalValues } from "../start-options.ts";
import { type Context, type Runner, withoutDashes } from "../verb.ts";

export const prepare = spellOutOptionalValues;

export function define(program: Command, run: Runner): void {
  const command = program
    .command("plan")
    .summary("show what a start would do, without doing it")
    .description(
      "Prints the steps of a machine's start in order, one a line: number, who does it, what, and the setting that " +
        "asked for it. Nothing is started and root is not needed. `berth run` takes the same options.",
    )
    .argument("[name]", "the machine; without it -M or -D say which")
    .argument("[command...]", "what would run, or with -b arguments for the init")
    .option("--json", "print the plan as JSON")
    .passThroughOptions();
  const options = addStartOptions(command);
  command.action(
    run((context, name: string | undefined, words: string[], flags: { json?: boolean }) =>
      showPlan(context, options, name, words, flags.json === true),
    ),
  );
}

async function showPlan(
  context: Context,
  options: StartOptions,
  name: string | undefined,
  words: readonly string[],
  json: boolean,
): Promise<number> {
  const byOption = options.machine !== undefined || options.directory !== undefined;
  const command = withoutDashes(byOption && name !== undefined ? [name, ...words] : words);
  const machine = options.machine ?? (byOption ? undefined : name);
  // A machine asked for by name alone is planned as `berth start` would boot it.
  const request = requestFrom(machine === undefined ? options : { ...options, machine }, command, !byOption);
  const prepared = prepareMachine(request, context.paths, INSTALLATION);
  for (const warning of prepared.warnings) process.stderr.write(`berth: ${showProblem(warning)}\n`);
  const { plan, input } = prepared.plan({ foreground: byOption, stdio: "console", term: null });
  if (!input.machine.tree.readable)
    process.stderr.write(
      `berth: ${prepared.spec.root.value} can't be read without root: planned as for a Debian tree\n`,
    );
  process.stdout.write(json ? `${JSON.stringify(planJson(plan), null, 2)}\n` : planText(plan));
  return 0;
}
