import type { Command } from "commander";
import { BerthError } from "../../errors.ts";
import { loadCredentials } from "../../host/credentials.ts";
import { INSTALLATION } from "../../host/installation.ts";
import { isHalfRolledBack } from "../../image/snapshots/places.ts";
import { prepare as prepareMachine } from "../../machine/prepare.ts";
import { type ForegroundConsole, runForeground } from "../../machine/run-foreground.ts";
import { sweep } from "../../machine/sweep.ts";
import type { ConsoleMode, MachineSpec } from "../../spec/machine-spec.ts";
import { showProblem } from "../../spec/problem.ts";
import { visible } from "../../spec/quote.ts";
import { showSource } from "../../spec/source.ts";
import { ProcessCaller } from "../../supervise/caller.ts";
import { isTerminal } from "../../supervise/caller-terminal.ts";
import { complain, say } from "../output.ts";
import { addStartOptions, requestFrom, type StartOptions, spellOutOptionalValues } from "../start-options.ts";
import type { Context, Runner } from "../verb.ts";

/** Of berth itself, as `docker run` has it. */
const EXIT_FAILURE = 125;

export const prepare = spellOutOptionalValues;

export function define(program: Command, run: Runner, words?: readonly string[]): void {
  const command = program
    .command("run")
    .summary("run a machine, or a command in one, here and now")
    .description(
      "Runs a machine in the foreground, without a daemon: its init with -b, else COMMAND or a shell. The machine ends " +
        "when this command does. The exit status is the payload's own, 128+N if signal N killed it, 125 to 127 if " +
        "it could not be started. ^] three times within a second kills the machine. A throw-away copy of a machine that runs " +
        "(-x -M NAME) has its name and a random number.",
    )
    .argument("[command...]", "what to run, or with -b arguments for the init")
    .passThroughOptions();
  const options = addStartOptions(command, words);
  command.action(run((context, words: string[]) => runMachine(context, options, words)));
}

async function runMachine(context: Context, options: StartOptions, words: readonly string[]): Promise<number> {
  if (process.geteuid?.() !== 0)
    throw new BerthError("machines can be run by root only", {
      hint: "berth plan shows what a start does, without root",
      exitStatus: EXIT_FAILURE,
    });
  if (options.cleanup === true) return cleanUp(context);
  if (
    options.machine !== undefined &&
    options.directory === undefined &&
    isHalfRolledBack(context.paths, options.machine)
  )
    await (await import("../../image/snapshots/half-rollback.ts")).finishRollback(context.paths, options.machine);
  const prepared = prepareMachine(requestFrom(options, words, false), context.paths, INSTALLATION);
  const { spec } = prepared;
  const caller = new ProcessCaller(options.background);
  const lineEnd = isTerminal(2) ? "\r\n" : "\n";
  const tell = (line: string): void => {
    if (options.quiet !== true) caller.stderr.write(`berth: ${visible(line)}${lineEnd}`);
  };
  for (const warning of prepared.warnings) tell(showProblem(warning));
  for (const { what, source } of prepared.weaknesses) tell(`weaker than the default: ${what} [${showSource(source)}]`);
  const credentials = await readCredentials(options, spec);
  const console = consoleFor(spec.console.value);
  return runForeground(prepared, { paths: context.paths, caller, console, env: context.env, say: tell, credentials });
}

/** Nothing is ever left mounted: what a machine has mounted goes with its keeper. */
function cleanUp({ paths }: Context): number {
  let failed = false;
  const gone = sweep(paths, (line) => {
    failed = true;
    complain(line);
  });
  for (const name of gone) say(`berth: cleaned up after machine ${name}\n`);
  return failed ? EXIT_FAILURE : 0;
}

async function readCredentials({ credentials }: StartOptions, spec: MachineSpec): Promise<ReadonlyMap<string, Buffer>> {
  if (credentials.length === 0) return new Map();
  const secrets = credentials.map(
    ({ credential, secret }) => [credential.value.id, secret ?? Buffer.alloc(0)] as const,
  );
  return loadCredentials(
    spec.credentials.map(({ value }) => value),
    new Map(secrets),
  );
}

/** systemd-nspawn(1), --console=: by default interactive on a terminal, else output only. */
function consoleFor(mode: ConsoleMode): ForegroundConsole {
  const terminal = isTerminal(0) && isTerminal(1);
  if (mode === "auto") return terminal ? "interactive" : "read-only";
  if (mode === "autopipe") return terminal ? "interactive" : "pipe";
  return mode;
}
