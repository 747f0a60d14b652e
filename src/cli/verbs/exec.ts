import type { Command } from "commander";
import { variable } from "../environment.ts";
import { execCommand } from "../exec-command.ts";
import { type Context, type Runner, withoutDashes } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("exec")
    .summary("run a command in a machine")
    .description(
      "Runs COMMAND as root, or another user, in a running machine; stdin, stdout, stderr and the exit status are the command's own " +
        "(128+N when signal N killed it, 125 to 127 when it could not be started). With --tty ^] three times within a " +
        "second hangs its terminal up. Options end where COMMAND begins, or at a --, which a command that begins with - needs.",
    )
    .argument("<name>", "the machine")
    .argument("<command...>", "the command and its arguments")
    .option("-u, --user <USER>", "who runs it: a name of the machine's /etc/passwd, or a number")
    .option("--cwd <DIRECTORY>", "where it begins; default: the user's home, or /")
    .option("-E, --env <NAME=VALUE>", "an environment variable of it, or one of ours by its name alone", collect, [])
    .option("-t, --tty", "give it a terminal of the machine's own")
    .passThroughOptions()
    .action(run(exec));
}

const VALUED = ["-u", "--user", "--cwd", "-E", "--env"];

/** Options may stand behind the machine's name too, as long as the command has not begun: they are put before it. */
export function prepare(words: readonly string[]): readonly string[] {
  const options: string[] = [];
  let name: string | undefined;
  let index = 0;
  for (; index < words.length; index++) {
    const word = words[index] ?? "";
    if (word === "--") break;
    if (word.startsWith("-") && word !== "-") {
      options.push(word);
      const value = words[index + 1];
      if (!takesNext(word) || value === undefined) continue;
      options.push(value);
      index++;
    } else if (name === undefined) name = word;
    else break;
  }
  return [...options, ...(name === undefined ? [] : [name]), ...words.slice(index)];
}

/** `-u USER`, and `-tu USER`; but `-uUSER` has it. */
function takesNext(word: string): boolean {
  if (word.startsWith("--")) return VALUED.includes(word);
  const letters = [...word.slice(1)];
  return letters.findIndex((letter) => VALUED.includes(`-${letter}`)) === letters.length - 1;
}

interface Options {
  readonly tty?: boolean;
  readonly user?: string;
  readonly cwd?: string;
  readonly env: readonly string[];
}

async function exec(context: Context, name: string, words: string[], options: Options): Promise<number> {
  const { user, cwd: directory, tty: terminal = false } = options;
  const environment = options.env.flatMap((text) => variable("--env", text, context.env));
  return execCommand(name, { argv: withoutDashes(words), user, directory, environment, terminal }, context);
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}
