import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import { loadCredentials } from "../../host/credentials.ts";
import { runForeground } from "../../machine/run-foreground.ts";
import { prepareReplay } from "../../manager/replay.ts";
import { printable, visible } from "../../spec/quote.ts";
import { ProcessCaller } from "../../supervise/caller.ts";
import { isTerminal } from "../../supervise/caller-terminal.ts";
import { type Context, type Runner, withoutDashes } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("replay")
    .summary("open a shell in a machine whose start failed, as far as it was built")
    .description(
      "Does all steps of a machine's start before the one at which its last start failed, and opens a shell in what is there by then, in place of its init. " +
        "Of the later steps only those are done that somebody in it needs: namespaces, root, a terminal, and all that confines it. " +
        "When the shell ends everything is undone. Where nobody can be in it without that step, this is said.",
    )
    .argument("<name>", "the machine")
    .argument("[command...]", "what to run instead of the shell")
    .option("--until <NUMBER>", "stop before another step, as berth plan NAME numbers them")
    .option("-q, --quiet", "do not say what is left out")
    .action(run(replay));
}

interface Options {
  readonly until?: string;
  readonly quiet?: boolean;
}

async function replay(context: Context, name: string, words: string[], options: Options): Promise<number> {
  const { paths, env } = context;
  const command = withoutDashes(words);
  const { prepared, says } = await prepareReplay(name, { until: stepNumber(options.until), command }, paths);
  const caller = new ProcessCaller();
  const lineEnd = isTerminal(2) ? "\r\n" : "\n";
  const say = (line: string): void => void caller.stderr.write(`berth: ${visible(line)}${lineEnd}`);
  if (options.quiet !== true) for (const line of says) say(line);
  const credentials = await loadCredentials(
    prepared.spec.credentials.map(({ value }) => value),
    new Map(),
  );
  const console = isTerminal(0) && isTerminal(1) ? "interactive" : "pipe";
  return runForeground(prepared, { paths, caller, console, env, say, credentials });
}

function stepNumber(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^#?[0-9]{1,6}$/.test(text)) return Number(text.replace("#", ""));
  throw new UsageError(`--until=${printable(text)} is no number of a step`, "berth plan NAME numbers them");
}
