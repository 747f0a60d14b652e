import type { Command } from "commander";
import { type CredentialOption, loadCredential, setCredential } from "../config/credentials.ts";
import type { OptionAssignment } from "../config/setting.ts";
import { assignOption, COMMAND_OPTIONS } from "../config/settings.ts";
import { UsageError } from "../errors.ts";
import type { MachineRequest } from "../machine/prepare.ts";
import { CONSOLE_MODES, type ConsoleMode } from "../spec/machine-spec.ts";
import type { Sourced } from "../spec/source.ts";
import { withoutSecrets } from "./secrets.ts";

/** What of a start is given on the command line: filled while commander parses, in the order typed. */
export interface StartOptions {
  machine?: string;
  directory?: string;
  quiet?: boolean;
  console?: Sourced<ConsoleMode>;
  readonly assignments: OptionAssignment[];
  readonly credentials: CredentialOption[];
}

const CREDENTIAL_HELP = {
  set:
    "a credential for PID 1, with C-style escapes (\\n, \\x00); other users of the host may see it in the process " +
    "list for a moment, so --load-credential is better",
  load:
    "the same from a file, a socket, or all files of a directory (ID_FILE); without a slash, from the credential of " +
    "that name that berth's own service was given",
};

/** systemd-nspawn's options that are no settings and not in effect yet: refused by name, never ignored. */
const NOT_YET = [
  "-i, --image <PATH>",
  "--template <PATH>",
  "--oci-bundle <PATH>",
  "--image-policy <POLICY>",
  "--root-hash <HASH>",
  "--root-hash-sig <SIGNATURE>",
  "--verity-data <PATH>",
  "--settings <MODE>",
  "-S, --slice <SLICE>",
  "--property <PROPERTY>",
  "--register <BOOL>",
  "--keep-unit",
  "--selinux-context <CONTEXT>",
  "--selinux-apifs-context <CONTEXT>",
  "--background <COLOR>",
  "--cleanup",
] as const;

/** Adds the options that `run`, `plan` and `start` share: systemd-nspawn's by the same names, from the settings table. */
export function addStartOptions(command: Command): StartOptions {
  const options: StartOptions = { assignments: [], credentials: [] };
  command
    .option("-D, --directory <PATH>", "the tree to use as root", (path) => {
      options.directory = path;
    })
    .option("-M, --machine <NAME>", "the machine's name; without -D also which tree", (name) => {
      options.machine = name;
    })
    .option("-q, --quiet", "say nothing but what the machine says")
    .option("--console <MODE>", `how to connect stdio: ${CONSOLE_MODES.join(", ")}`, (mode) => {
      options.console = consoleOption(mode);
    })
    .option("-P, --pipe", "the same as --console=pipe")
    .option("--set-credential <ID:VALUE>", CREDENTIAL_HELP.set, (text) => {
      // From here on who lists processes sees none of it.
      process.title = ["berth", ...withoutSecrets(process.argv.slice(2))].join(" ");
      options.credentials.push(setCredential(text));
    })
    .option("--load-credential <ID:PATH>", CREDENTIAL_HELP.load, (text) => {
      options.credentials.push(loadCredential(text, process.env["CREDENTIALS_DIRECTORY"]));
    });
  command.on("option:quiet", () => {
    options.quiet = true;
  });
  command.on("option:pipe", () => {
    options.console = { value: "pipe", source: { from: "option", option: "--pipe" } };
  });
  for (const option of COMMAND_OPTIONS) {
    const { long, short, implies, optional } = option.form;
    const names = [short && `-${short}`, long && `--${long}`].filter(Boolean).join(", ");
    // One value, whatever it may hold: to commander the dots of NAME=VALUE... would be all words that follow.
    const takes = option.takes.replace(/\.\.\.$/, "");
    command.option(`${names}${implies === undefined || optional ? ` <${takes}>` : ""}`, option.help);
    command.on(`option:${optionEvent(long, short)}`, (value: string | null) => {
      const given = long === "setenv" ? fromOwnEnvironment(value) : (value ?? undefined);
      options.assignments.push(assignOption(option, given));
    });
  }
  for (const flags of NOT_YET) {
    command.option(flags, "not in effect yet");
    const name = /--([a-z-]+)/.exec(flags)?.[1] ?? "";
    command.on(`option:${name}`, (value: string | null) => {
      if (name === "register" && value === "no") return; // as it is anyway
      throw new UsageError(`--${name} is not in effect yet in this version of berth`);
    });
  }
  return options;
}

/** -E NAME without a value passes on our own variable (systemd-nspawn(1)). */
function fromOwnEnvironment(text: string | null): string {
  if (text === null || text.includes("=")) return text ?? "";
  const value = process.env[text];
  if (value === undefined)
    throw new UsageError(`--setenv=${text}: there is no such variable here`, `-E ${text}=VALUE sets it`);
  return `${text}=${value}`;
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

/** commander's name for an option's event: the long name, or the short one where that is all there is. */
function optionEvent(long: string | undefined, short: string | undefined): string {
  return long ?? short ?? "";
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
    credentials: options.credentials.map(({ credential }) => credential),
  };
}
