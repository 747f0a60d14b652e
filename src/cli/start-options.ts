import type { Command } from "commander";
import { type CredentialOption, loadCredential, setCredential } from "../config/credentials.ts";
import type { OptionAssignment } from "../config/setting.ts";
import { assignOption, COMMAND_OPTIONS, type CommandOption } from "../config/settings.ts";
import { readBoolean } from "../config/values.ts";
import { UsageError } from "../errors.ts";
import type { SettingsMode } from "../host/settings-files.ts";
import type { MachineRequest } from "../machine/prepare.ts";
import { CONSOLE_MODES, type ConsoleMode } from "../spec/machine-spec.ts";
import type { Problem } from "../spec/problem.ts";
import { printable } from "../spec/quote.ts";
import type { Sourced } from "../spec/source.ts";
import { defineOptions, type OptionDefinition } from "./option-set.ts";
import { REFUSED_OPTIONS } from "./refused-options.ts";
import { withoutSecrets } from "./secrets.ts";

/** What of a start is given on the command line: filled while commander parses, in the order typed. */
export interface StartOptions {
  machine?: string | undefined;
  directory?: string | undefined;
  quiet?: boolean;
  console?: Sourced<ConsoleMode>;
  settings?: SettingsMode;
  cleanup?: boolean;
  readonly assignments: OptionAssignment[];
  readonly credentials: CredentialOption[];
  readonly warnings: Problem[];
}

const SETTINGS_HELP =
  "settings files: yes; no (none is read); override (they win over options that set the same); trusted (what came " +
  "with an image counts whole, too)";
const REGISTER_HINT = "registration with systemd-machined comes with berth's daemon; berth list shows the machine";

const CREDENTIAL_HELP = {
  set:
    "a credential for PID 1, with C-style escapes (\\n, \\x00); other users of the host may see it in the process " +
    "list for a moment, so --load-credential is better",
  load:
    "the same from a file, a socket, or all files of a directory (ID_FILE); without a slash, from the credential of " +
    "that name that berth's own service was given",
};

/**
 * Adds the options that `run` and `plan` share: systemd-nspawn's by the same names, from the settings table. Given the
 * words of the command line, no more of them than those need.
 */
export function addStartOptions(command: Command, words?: readonly string[]): StartOptions {
  const options: StartOptions = { assignments: [], credentials: [], warnings: [] };
  defineOptions(command, [...ownOptions(options), ...settingOptions(options), ...REFUSED_OPTIONS], words);
  return options;
}

/** Those that set no setting. */
function ownOptions(options: StartOptions): readonly OptionDefinition[] {
  return [
    {
      flags: "-D, --directory <PATH>",
      help: "the tree to use as root; without this and -M the current directory",
      take: (path) => {
        options.directory = path;
      },
    },
    {
      flags: "-M, --machine <NAME>",
      help: "the machine's name; without -D also which tree",
      take: (name) => {
        options.machine = name;
      },
    },
    {
      flags: "-q, --quiet",
      help: "say nothing but what the machine says",
      take: () => {
        options.quiet = true;
      },
    },
    {
      flags: "--settings <MODE>",
      help: SETTINGS_HELP,
      take: (mode = "") => {
        options.settings = settingsMode(mode);
      },
    },
    {
      flags: "--register <BOOL>",
      help: "no, auto: the machine is known to berth alone; yes is not in effect yet",
      take: (text = "") => {
        if (text !== "auto" && readBoolean(text) !== false)
          throw new UsageError(`--register=${text} is not in effect yet in this version of berth`, REGISTER_HINT);
      },
    },
    {
      flags: "--console <MODE>",
      help: `how to connect stdio: ${CONSOLE_MODES.join(", ")}`,
      take: (mode = "") => {
        options.console = consoleOption(mode);
      },
    },
    {
      flags: "-P, --pipe",
      help: "the same as --console=pipe",
      take: () => {
        options.console = { value: "pipe", source: { from: "option", option: "--pipe" } };
      },
    },
    {
      flags: "--set-credential <ID:VALUE>",
      help: CREDENTIAL_HELP.set,
      take: (text = "") => {
        // From here on who lists processes sees none of it.
        process.title = ["berth", ...withoutSecrets(process.argv.slice(2))].join(" ");
        options.credentials.push(setCredential(text));
      },
    },
    {
      flags: "--load-credential <ID:PATH>",
      help: CREDENTIAL_HELP.load,
      take: (text = "") => {
        options.credentials.push(loadCredential(text, process.env["CREDENTIALS_DIRECTORY"]));
      },
    },
    {
      flags: "--cleanup",
      help: "start nothing: remove what machines left whose berth was killed",
      take: () => {
        options.cleanup = true;
      },
    },
  ];
}

function settingOptions(options: StartOptions): readonly OptionDefinition[] {
  return COMMAND_OPTIONS.map((option) => {
    const { long, short, implies, optional } = option.form;
    const names = [short && `-${short}`, long && `--${long}`].filter(Boolean).join(", ");
    // One value, whatever it may hold: to commander the dots of NAME=VALUE... would be all words that follow.
    const takes = option.takes.replace(/\.\.\.$/, "");
    return {
      flags: `${names}${implies === undefined || optional ? ` <${takes}>` : ""}`,
      help: `${option.help}${notYetMark(option)}`,
      take: (value) => {
        const given = long === "setenv" ? fromOwnEnvironment(value, options) : value;
        if (given !== null) options.assignments.push(assignOption(option, given));
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

function settingsMode(text: string): SettingsMode {
  if (text === "override" || text === "trusted") return text;
  const truth = readBoolean(text);
  if (truth === undefined)
    throw new UsageError(`--settings=${printable(text)}: unknown mode`, "yes, no, override or trusted");
  return truth ? "yes" : "no";
}

function consoleOption(text: string): Sourced<ConsoleMode> {
  const mode = CONSOLE_MODES.find((known) => known === text);
  if (mode === undefined) throw new UsageError(`--console=${text}: unknown mode`, `one of ${CONSOLE_MODES.join(", ")}`);
  return { value: mode, source: { from: "option", option: `--console=${text}` } };
}

export function requestFrom(options: StartOptions, command: readonly string[], boot: boolean): MachineRequest {
  return {
    name: options.machine,
    directory: options.directory,
    options: options.assignments,
    command,
    boot,
    console: options.console,
    settings: options.settings ?? "yes",
    warnings: options.warnings,
    credentials: options.credentials.map(({ credential }) => credential),
  };
}
