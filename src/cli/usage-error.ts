import type { Command, CommanderError } from "commander";
import { UsageError } from "../errors.ts";
import { suggest } from "../spec/nearest.ts";

/** Beyond that many a list of what an abbreviation could stand for says nothing. */
const SAME_BEGINNING_MAX = 6;

/** What the parser did not take, with what would be right. */
export function betterSaid(error: CommanderError, command: Command): Error {
  const [said = ""] = error.message.replace(/^error: /, "").split("\n");
  switch (error.code) {
    case "commander.unknownOption":
      return unknownOption(error, command);
    case "commander.missingArgument":
    case "commander.excessArguments":
    case "commander.optionMissingArgument":
      return new UsageError(said, `berth ${command.name()} ${command.usage()}`);
    default:
      return error;
  }
}

const BEFORE_COMMAND = "before a command that begins with - there has to be a --";

/** An option that was not taken, better than the parser says it: what is wrong with it, or which one may be meant. */
function unknownOption(error: CommanderError, command: Command): Error {
  const [, word] = /unknown option '(.*)'$/m.exec(error.message.split("\n(")[0] ?? "") ?? [];
  if (word === undefined) return error;
  const name = word.replace(/=.*/s, "");
  const names = command.options.flatMap(({ long }) => long ?? []);
  // Valued options are taken in this form: it is one that takes none.
  if (names.includes(name)) return new UsageError(`${name} takes no value`);
  const hint = suggestOption(name, [...names, "--help"]) ?? (command.name() === "exec" ? BEFORE_COMMAND : undefined);
  return new UsageError(`unknown option '${name}'`, hint);
}

/** getopt takes the beginning of an option's name for it; berth does not, but knows what is meant. */
function suggestOption(name: string, names: readonly string[]): string | undefined {
  const longer = name.length > 2 ? names.filter((each) => each.startsWith(name)) : [];
  const [first, ...more] = longer;
  if (first !== undefined && more.length === 0) return `did you mean ${first}?`;
  if (first !== undefined && longer.length <= SAME_BEGINNING_MAX) return `did you mean one of ${longer.join(", ")}?`;
  return name.startsWith("--") ? suggest(name, names) : undefined;
}
