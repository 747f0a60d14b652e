import { type Command, Option } from "commander";

/** An option of a command. */
export interface OptionDefinition {
  /** As commander has them: `-D, --directory <PATH>`. */
  readonly flags: string;
  /** How --help shows the flags; default: as they are. */
  readonly term?: string;
  readonly help: string;
  /** Shown by --help-all and in the manual only: with all of them, help would be four screens long. */
  readonly rare?: boolean;
  /** Gets its value, or undefined where it takes none; and by which of its names it was given, where that is known. */
  readonly take?: (value: string | undefined, typed: string | undefined) => void;
}

export const HELP_ALL = "--help-all";
const HELP = new Option("-h, --help", `this; ${HELP_ALL} lists all options`);

function rareOf(definitions: readonly OptionDefinition[]): (option: Option) => boolean {
  const rare = new Set(definitions.filter((definition) => definition.rare === true).map(({ flags }) => flags));
  return ({ flags }) => rare.has(flags);
}

/**
 * Adds options to a command: all of them, or given the words that will be parsed only those that matter for these. A
 * hundred options cost a start 1.2 ms, of which it uses three.
 */
export function defineOptions(
  command: Command,
  definitions: readonly OptionDefinition[],
  words?: readonly string[],
): void {
  const given = words && optionsIn(words, definitions);
  const terms = new Map(definitions.map(({ flags, term = flags }) => [flags, term]));
  const isRare = words?.includes(HELP_ALL) === true ? () => false : rareOf(definitions);
  command.configureHelp({
    optionTerm: ({ flags }) => terms.get(flags) ?? flags,
    visibleOptions: ({ options }) => [...options.filter((option) => !isRare(option)), HELP],
  });
  if (words?.includes(HELP_ALL) === true) command.helpOption(HELP_ALL);
  for (const definition of definitions) {
    if (given !== undefined && !given.has(definition)) continue;
    const { flags, help, take } = definition;
    const option = command.createOption(flags, help);
    command.addOption(option);
    const names = given?.get(definition)?.values();
    if (take !== undefined)
      command.on(`option:${option.name()}`, (value: string | null) => take(value ?? undefined, names?.next().value));
  }
}

/**
 * The options among the words, each with the names it is given by in turn. Read as commander will: up to the first word
 * that is no option's. Undefined if there is one that is not defined:
 * --help, which lists them all, or a mistake, for which a similar one is looked for.
 */
function optionsIn(
  words: readonly string[],
  definitions: readonly OptionDefinition[],
): ReadonlyMap<OptionDefinition, readonly string[]> | undefined {
  const byName = new Map(definitions.flatMap((each) => namesOf(each).map((name) => [name, each] as const)));
  const found = new Map<OptionDefinition, string[]>();
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    if (word === "--" || word === "-" || !word.startsWith("-")) break;
    const equals = word.indexOf("=");
    const long = word.startsWith("--");
    // -bqM NAME, -bqMNAME: the first that takes a value has the rest.
    const names = long ? [equals < 0 ? word : word.slice(0, equals)] : [...word.slice(1)].map((letter) => `-${letter}`);
    for (const [at, name] of names.entries()) {
      const definition = byName.get(name);
      if (definition === undefined) return undefined;
      found.set(definition, [...(found.get(definition) ?? []), name]);
      const valued = definition.flags.endsWith(">");
      if (long && equals >= 0 && !valued) return undefined;
      if (!valued) continue;
      if (long ? equals < 0 : at === names.length - 1) index++;
      break;
    }
  }
  return found;
}

function namesOf({ flags }: OptionDefinition): readonly string[] {
  return flags.replace(/ <.*/, "").split(", ");
}
