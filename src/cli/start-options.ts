import type { Command } from "commander";
import { assignOption, COMMAND_OPTIONS, type CommandOption } from "../config/settings.ts";
import { UsageError } from "../errors.ts";
import type { MachineRequest } from "../machine/prepare.ts";
import { defineOptions, type OptionDefinition } from "./option-set.ts";
import { ownOptions, type StartOptions } from "./own-options.ts";
import { REFUSED_OPTIONS } from "./refused-options.ts";

export type { StartOptions } from "./own-options.ts";

/** Those that help shows: what one needs first, and mostly. */
const USUAL = new Set(
  (
    "--directory --machine --boot --ephemeral --as-pid2 --quiet --console --pipe --user --setenv --hostname " +
    "--private-users --capability --read-only --volatile --bind --bind-ro --tmpfs --host-network"
  ).split(" "),
);

/**
 * Adds the options that `run` and `plan` share: systemd-nspawn's by the same names, from the settings table. Given the
 * words of the command line, no more of them than those need.
 */
export function addStartOptions(command: Command, words?: readonly string[]): StartOptions {
  const options: StartOptions = { assignments: [], credentials: [], bindUserGroups: [], properties: [], warnings: [] };
  const all = [...ownOptions(options), ...settingOptions(options), ...REFUSED_OPTIONS];
  defineOptions(
    command,
    all.map((each) => ({ ...each, rare: !USUAL.has(/--[a-z0-9-]+/.exec(each.flags)?.[0] ?? "") })),
    words,
  );
  return options;
}

function settingOptions(options: StartOptions): readonly OptionDefinition[] {
  return COMMAND_OPTIONS.map((option) => {
    const { long, short, implies, optional } = option.form;
    const [setting] = option.settings;
    const names = [short && `-${short}`, long && `--${long}`].filter(Boolean).join(", ");
    // One value, whatever it may hold: to commander the dots of NAME=VALUE... would be all words that follow.
    const takes = option.takes.replace(/\.\.\.$/, "");
    // A setting's help says what its first option does; the others are other words for one of its values.
    const isOther = setting?.options[0] !== option.form && implies !== undefined && !optional;
    const help = isOther ? `stands for ${setting?.key}=${implies}` : option.help;
    return {
      flags: `${names}${implies === undefined || optional ? ` <${takes}>` : ""}`,
      ...(optional && { term: `${names}[=${takes}]` }),
      help: `${help}${notYetMark(option)}`,
      take: (value, typed) => {
        const given = long === "setenv" ? fromOwnEnvironment(value, options) : value;
        if (given !== null) options.assignments.push(assignOption(option, given, typed));
      },
    };
  });
}

function notYetMark({ settings }: CommandOption): string {
  return settings.every(({ state }) => state === "not yet") ? " (not in effect yet)" : "";
}

/** -E NAME without a value passes on our own variable, or none where there is none (systemd-nspawn(1)). */
function fromOwnEnvironment(text = "", options: StartOptions): string | null {
  if (text.includes("=")) return text;
  const value = process.env[text];
  if (value !== undefined) return `${text}=${value}`;
  const what = "there is no such variable here, so the machine gets none";
  const source = { from: "option", option: `--setenv=${text}` } as const;
  options.warnings.push({ severity: "warning", source, what, hint: `-E ${text}=VALUE sets it` });
  return null;
}

/** Options whose value may be left out take one only after `=`, and the next word is never theirs. */
export function spellOutOptionalValues(words: readonly string[]): readonly string[] {
  const end = words.indexOf("--");
  return words.map((word, index) => {
    if (end >= 0 && index > end) return word;
    const option = COMMAND_OPTIONS.find(({ form }) => form.optional && word === `--${form.long}`);
    return option === undefined ? word : `${word}=${option.form.implies}`;
  });
}

export function requestFrom(options: StartOptions, command: readonly string[], boot: boolean): MachineRequest {
  if (options.directory !== undefined && options.image !== undefined)
    throw new UsageError("--directory= and --image= can't be used together", "a machine has one tree");
  return {
    name: options.machine,
    directory: options.directory,
    image: options.image,
    options: options.assignments,
    command,
    boot,
    console: options.console,
    settings: options.settings ?? "yes",
    warnings: options.warnings,
    credentials: options.credentials.map(({ credential }) => credential),
    bindUserGroups: options.bindUserGroups,
    unit: {
      ...(options.keepUnit && { keepUnit: options.keepUnit }),
      ...(options.slice && { slice: options.slice }),
      unitProperties: options.properties,
    },
    selinux: {
      ...(options.selinuxContext && { selinuxContext: options.selinuxContext }),
      ...(options.selinuxApifsContext && { selinuxApifsContext: options.selinuxApifsContext }),
    },
  };
}
