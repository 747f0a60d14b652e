import { Command, CommanderError } from "commander";
import { BerthError } from "../errors.ts";
import { takeInertOptions } from "./inert-options.ts";
import type { Runner } from "./verb.ts";
import { VERBS } from "./verbs.ts";

/** Second names of verbs. */
export const OTHER_WORDS: Readonly<Record<string, string>> = {
  "--version": "version",
  stop: "poweroff",
  images: "list-images",
  remotes: "remote",
};

const inert: Runner = () => async () => undefined;

/** The parser of a verb, by any of its names, which runs nothing. `words`: those that it will be given. */
export async function commandOf(verb: string, words?: readonly string[]): Promise<Command | undefined> {
  const name = Object.hasOwn(OTHER_WORDS, verb) ? (OTHER_WORDS[verb] ?? verb) : verb;
  const module = Object.hasOwn(VERBS, name) ? await VERBS[name]?.load() : undefined;
  if (module === undefined) return undefined;
  const program = new Command("berth").exitOverride().enablePositionalOptions();
  module.define(program, inert, words && (module.prepare?.(words) ?? words));
  const [command] = program.commands;
  if (command !== undefined) takeInertOptions(command);
  return command?.exitOverride().configureOutput({ writeErr: () => undefined });
}

/**
 * Options may stand before the verb, as with machinectl(1): here they are put behind it. The verb is the first whose options all
 * words before it are, `-p list` of `berth -p list show m` being one; if there is none, the first, to say which it does not know.
 */
export async function verbFirst(words: readonly string[]): Promise<readonly string[]> {
  if (["-h", "--help", "--version"].includes(words[0] ?? "")) return words;
  const end = words.includes("--") ? words.indexOf("--") : words.length;
  const [roots, rest] = takeRoot(words.slice(0, end));
  const places = [...rest.keys()].filter((index) => isVerb(rest[index] ?? ""));
  let found = places[0];
  for (const place of places)
    if (await knows(rest[place] ?? "", rest.slice(0, place))) {
      found = place;
      break;
    }
  // Without one what is none is told of, or all are listed.
  const at = found ?? rest.findIndex((word) => !word.startsWith("-") || ["-h", "--help", "--version"].includes(word));
  if (at < 0) return words;
  const before = found === undefined ? [] : rest.slice(0, at);
  return [...roots, rest[at] ?? "", ...before, ...rest.slice(at + 1), ...words.slice(end)];
}

/** --root DIR is berth's own, where it stands before the verb. */
function takeRoot(words: readonly string[]): readonly [roots: readonly string[], rest: readonly string[]] {
  const at = words.findIndex((word) => word === "--root" || word.startsWith("--root="));
  const verb = words.findIndex(isVerb);
  if (at < 0 || (verb >= 0 && verb < at)) return [[], words];
  const count = words[at] === "--root" ? 2 : 1;
  return [words.slice(at, at + count), words.toSpliced(at, count)];
}

function isVerb(word: string): boolean {
  return Object.hasOwn(VERBS, word) || (Object.hasOwn(OTHER_WORDS, word) && !word.startsWith("-"));
}

async function knows(verb: string, options: readonly string[]): Promise<boolean> {
  try {
    const { operands, unknown } = (await commandOf(verb, options))?.parseOptions([...options]) ?? { unknown: [verb] };
    return operands?.length === 0 && unknown.length === 0;
  } catch (error) {
    if (error instanceof CommanderError) return false; // the last one's value is missing
    if (error instanceof BerthError) return true; // a wrong value is told when it is parsed for good
    throw error;
  }
}
