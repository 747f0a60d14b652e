import { type Argument, Command, type Option } from "commander";
import type { OptionForm, Setting } from "../config/setting.ts";
import { COMMAND_OPTIONS, type CommandOption, optionName, SETTINGS_BY_SECTION } from "../config/settings.ts";
import { compatPage, type Proofs } from "./man-compat.ts";
import { DAEMON_PAGE } from "./man-daemon-text.ts";
import { title, toRoff } from "./man-roff.ts";
import { DETAILS, settingsPage } from "./man-settings-text.ts";
import { programPage } from "./man-text.ts";
import { addStartOptions } from "./start-options.ts";
import type { Runner } from "./verb.ts";
import { VERBS, verbGroups } from "./verbs.ts";

/**
 * The manual's pages by file name, made from the tables the program itself works by, the texts of man-*text.ts and the
 * titles of tests.
 */
export async function manualPages(version: string, proofs: Proofs): Promise<Readonly<Record<string, string>>> {
  const page = (name: string, section: number, markup: string): [string, string] => [
    `${name}.${section}`,
    `.\\" Made by src/cli/man.ts; UPDATE=1 npx vitest run test/unit/cli/man.test.ts makes it anew.\n` +
      title(name, section, version) +
      toRoff(markup),
  ];
  const names = verbGroups().flatMap(([, group]) => group);
  const verbs = (await Promise.all(names.map(verbCommand))).map(verbText).join("\n\n");
  return Object.fromEntries([
    page("berth", 1, programPage(verbs, sharedOptionsText(), notYetText())),
    page("berthd", 8, DAEMON_PAGE),
    page("berth.nspawn", 5, settingsPage(settingsText)),
    page("berth-nspawn", 7, compatPage(startOptionState, proofs)),
  ]);
}

/** What a verb tells the parser about itself. */
async function verbCommand(verb: string): Promise<Command> {
  const program = new Command("berth").enablePositionalOptions();
  const inert: Runner = () => async () => undefined;
  (await VERBS[verb]?.load())?.define(program, inert);
  const [command] = program.commands;
  if (command === undefined) throw new Error(`verb ${verb} defines no command`);
  return command;
}

/** Those that `run` and `plan` share, by flags. */
const SHARED = sharedOptions();

function sharedOptions(): readonly Option[] {
  const command = new Command();
  addStartOptions(command);
  return command.options;
}

function verbText(command: Command): string {
  // By what they do, too: another verb's option may have the name of one of these.
  const key = ({ flags, description }: Option): string => `${flags} ${description}`;
  const shared = new Set(SHARED.map(key));
  const own = command.options.filter((option) => !shared.has(key(option)));
  const words = command.registeredArguments.map((each) => ({ each, text: argumentText(each) }));
  const usage = [
    [command.name(), ...command.aliases()].join(", "),
    ...(command.options.length > 0 ? ["[OPTION...]"] : []),
    ...words.map(({ each, text }) => (each.required ? text : `[${text}]`)),
  ];
  return [
    // The parser's own begins so: another one is a verb's.
    `## ${command.usage().startsWith("[NAME]") ? `${command.name()} ${command.usage()}` : usage.join(" ")}`,
    command.description(),
    ...(own.length < command.options.length ? ["Most options are described in *OPTIONS OF run AND plan*."] : []),
    ...words.map(({ each, text }) => definition(variables(text), each.description)),
    ...own.map(optionText),
  ].join("\n\n");
}

function argumentText(argument: Argument): string {
  const name = argument.name();
  // Words to type stand as they are typed.
  const isChoice = /^[a-z]+(\|[a-z]+){2,}$/.test(name);
  return `${isChoice ? name : name.toUpperCase()}${argument.variadic ? "..." : ""}`;
}

function optionText(option: Option): string {
  const value: unknown = option.defaultValue;
  return definition(flagsText(option), option.description, typeof value === "string" && `Default: *${value}*.`);
}

function flagsText({ flags, short, long }: Option): string {
  const [, value] = /<(.*)>$/.exec(flags) ?? [];
  if (value === undefined) return literal(short, long);
  return `${literal(short, long)} ${variables(/^[a-z]+$/.test(value) ? value.toUpperCase() : value)}`;
}

/** Of the options that `run` and `plan` share: those that do something. */
function sharedOptionsText(): string {
  return SHARED.filter((option) => !isNotYet(option))
    .map(sharedOptionText)
    .join("\n\n");
}

function sharedOptionText(option: Option): string {
  const row = tableRow(option);
  const [setting] = row?.settings ?? [];
  if (row === undefined || setting === undefined) return optionText(option);
  if (row.settings.length > 1)
    return definition(terms(option, row), option.description, "Sets the *Limit...=* of that name.");
  const { implies } = row.form;
  const assignment = `*${setting.key}=${row.form.optional ? "" : (implies ?? "")}*`;
  // A setting's help says what its first option does; the others are other words for one of its values.
  if (setting.options[0] !== row.form) return definition(terms(option, row), `stands for ${assignment}`);
  return definition(terms(option, row), option.description, `Sets ${assignment}.`);
}

function terms(option: Option, { form, takes }: CommandOption): string {
  return form.optional ? `${literal(option.short, option.long)}[=${variables(takes)}]` : flagsText(option);
}

function notYetText(): string {
  return SHARED.filter(isNotYet)
    .map(({ long, short }) => literal(long ?? short))
    .join(", ");
}

/** The settings say so, or of an option that has none its description. */
function isNotYet(option: Option): boolean {
  const row = tableRow(option);
  return row === undefined
    ? option.description.startsWith(NOT_YET)
    : row.settings.every(({ state }) => state === "not yet");
}

const NOT_YET = "not in effect yet";

/** Of an option of systemd-nspawn's, for berth-nspawn(7). --help and --version are every program's. */
export function startOptionState(name: string): string | undefined {
  if (name === "--help" || name === "-h" || name === "--version") return "in effect";
  const option = SHARED.find(({ long, short }) => long === name || short === name);
  if (option === undefined) return undefined;
  if (!isNotYet(option)) return "in effect";
  return option.description.startsWith(NOT_YET) ? option.description : NOT_YET;
}

function tableRow({ long, short }: Option): CommandOption | undefined {
  return COMMAND_OPTIONS.find(({ form }) => optionName(form) === (long ?? short));
}

/** One section of a settings file: what is in effect, then what is not yet. */
function settingsText(section: string): string {
  const rows = [...(SETTINGS_BY_SECTION.get(section)?.values() ?? [])];
  const of = (state: Setting["state"]): string =>
    joinAlike(rows.filter((row) => row.state === state))
      .map(settingText)
      .join("\n\n");
  const notYet = of("not yet");
  return [of("in effect"), ...(notYet === "" ? [] : ["## Not in effect yet", notYet])].join("\n\n");
}

/** Settings with one option in common, as the resource limits, are described together. */
function joinAlike(rows: readonly Setting[]): readonly (readonly Setting[])[] {
  const groups = new Map<string, Setting[]>();
  for (const row of rows) {
    const [form] = row.options;
    const name = form?.item === undefined ? row.key : optionName(form);
    groups.set(name, [...(groups.get(name) ?? []), row]);
  }
  return [...groups.values()];
}

function settingText(alike: readonly Setting[]): string {
  const [row] = alike;
  if (row === undefined) return "";
  const option = COMMAND_OPTIONS.find(({ settings }) => settings.includes(row));
  const names = [...new Set(row.options.map(formText))];
  return definition(
    alike.map(assignmentText).join("\n"),
    alike.length > 1 && option !== undefined ? option.help : row.help,
    DETAILS[row.key],
    row.default !== undefined && `Default: *${row.default}*.`,
    row.list === true && "Assignments add up.",
    names.length > 0 && `${names.length > 1 ? "Options" : "Option"}: ${names.join("; ")}.`,
    row.accepts !== undefined && `Accepted: ${row.accepts.map(valueText).join(", ")}.`,
    row.safe && "Counts in untrusted files.",
  );
}

function formText({ long, short }: OptionForm): string {
  return literal(short && `-${short}`, long && `--${long}`);
}

function valueText(value: unknown): string {
  if (typeof value === "boolean") return value ? "*yes*" : "*no*";
  return `*${value}*`;
}

function assignmentText({ key, takes }: Setting): string {
  const [literal = ""] = /^[a-z]*/.exec(takes) ?? [];
  return `*${key}=${literal}*${variables(takes.slice(literal.length))}`;
}

/** `BOOL|state`: what is in capitals stands for something, the rest is literal. */
function variables(form: string): string {
  return form.replace(/[A-Z]+/g, "_$&_").replace(/[a-z]+/g, "*$&*");
}

function literal(...names: readonly (string | undefined)[]): string {
  return names.flatMap((name) => (name === undefined ? [] : [`*${name}*`])).join(", ");
}

/** What is said besides the help may be absent. */
function definition(terms: string, help: string, ...more: readonly (string | false | undefined)[]): string {
  const sentence = `${help.charAt(0).toUpperCase()}${help.slice(1)}${help.endsWith(".") ? "" : "."}`;
  return `${terms}\n: ${[sentence, ...more].filter((each) => each).join(" ")}`;
}
