import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import { variable } from "../environment.ts";
import { openSession } from "../open-session.ts";
import { type Context, type Runner, withoutDashes } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("shell")
    .summary("open a shell in a machine")
    .description(
      "Opens a login shell of root, or another user, in a running machine, on a terminal of the machine's own: where its " +
        "systemd is up a login session (PAM, logind, XDG_RUNTIME_DIR), else as exec does. The exit status is the shell's. " +
        "^] three times within a second hangs that terminal up, and with it the shell. Where stdin is no terminal, what comes there is typed, " +
        "and its end as ^D.",
    )
    .argument("<[user@]name>", "the machine, and whose shell")
    .argument("[command...]", "what to run instead of the shell")
    .option("-u, --user <USER>", "whose shell: a name of the machine's /etc/passwd, or a number")
    .option("--uid <USER>", "the same, as machinectl(1) calls it")
    .option("-E, --setenv <NAME=VALUE>", "an environment variable of it, or one of ours by its name alone", collect, [])
    .passThroughOptions()
    .action(run(shell));
}

interface Options {
  readonly user?: string;
  readonly uid?: string;
  readonly setenv: readonly string[];
}

async function shell(context: Context, given: string, words: string[], options: Options): Promise<number> {
  const at = given.lastIndexOf("@");
  const [typed, name] = at < 0 ? [undefined, given] : [given.slice(0, at), given.slice(at + 1)];
  const option = options.user ?? options.uid;
  if (typed !== undefined && option !== undefined) throw new UsageError("USER@ and --user exclude each other");
  if (typed === "") throw new UsageError(`${given}: there is no user before the @`);
  return openSession(context, name, {
    kind: "shell",
    user: typed ?? option,
    argv: withoutDashes(words),
    environment: options.setenv.flatMap((text) => variable("--setenv", text, context.env)),
  });
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}
