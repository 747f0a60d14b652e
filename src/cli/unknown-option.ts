import type { Command, CommanderError } from "commander";
import { UsageError } from "../errors.ts";
import { suggest } from "../spec/nearest.ts";

/** Beyond that many a list of what an abbreviation could stand for says nothing. */
const SAME_BEGINNING_MAX = 6;

/** An option that was not taken, better than the parser says it: what is wrong with it, or which one may be meant. */
export function unknownOption(error: CommanderError, command: Command): Error {
  const [, word] = /unknown option '(.*)'$/m.exec(error.message.split("\n(")[0] ?? "") ?? [];
  if (word === undefined) return error;
  const name = word.replace(/=.*/s, "");
  const names = command.options.flatMap(({ long }) => long ?? []);
  // Valued options are taken in this form: it is one that takes none.
  if (names.includes(name)) return new UsageError(`${name} takes no value`);
  return new UsageError(`unknown option '${name}'`, suggestOption(name, [...names, "--help"]));
}

/** getopt takes the beginning of an option's name for it; berth does not, but knows what is meant. */
function suggestOption(name: string, names: readonly string[]): string | undefined {
  const longer = name.length > 2 ? names.filter((each) => each.startsWith(name)) : [];
  const [first, ...more] = longer;
  if (first !== undefined && more.length === 0) return `did you mean ${first}?`;
  if (first !== undefined && longer.length <= SAME_BEGINNING_MAX) return `did you mean one of ${longer.join(", ")}?`;
  return name.startsWith("--") ? suggest(name, names) : undefined;
}
