import { backgroundOption, type Rgb } from "../config/background.ts";
import { type CredentialOption, loadCredential, setCredential } from "../config/credentials.ts";
import { contextOption } from "../config/selinux.ts";
import type { OptionAssignment } from "../config/setting.ts";
import { propertyOption, sliceOption } from "../config/unit-options.ts";
import { readBoolean } from "../config/values.ts";
import { groupOption } from "../config/values-users.ts";
import { UsageError } from "../errors.ts";
import type { SettingsMode } from "../host/settings-files.ts";
import { CONSOLE_MODES, type ConsoleMode, type UnitProperty } from "../spec/machine-spec.ts";
import type { Problem } from "../spec/problem.ts";
import { printable } from "../spec/quote.ts";
import type { Sourced } from "../spec/source.ts";
import type { OptionDefinition } from "./option-set.ts";
import { withoutSecrets } from "./secrets.ts";

/** What of a start is given on the command line: filled while commander parses, in the order typed. */
export interface StartOptions {
  machine?: string | undefined;
  directory?: string | undefined;
  image?: string | undefined;
  quiet?: boolean;
  console?: Sourced<ConsoleMode>;
  background?: Rgb | null;
  settings?: SettingsMode;
  cleanup?: boolean;
  readonly assignments: OptionAssignment[];
  readonly credentials: CredentialOption[];
  keepUnit?: Sourced<boolean>;
  slice?: Sourced<string>;
  readonly bindUserGroups: Sourced<string>[];
  readonly properties: Sourced<UnitProperty>[];
  selinuxContext?: Sourced<string>;
  selinuxApifsContext?: Sourced<string>;
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

/** Options of a start that set no setting. */
export function ownOptions(options: StartOptions): readonly OptionDefinition[] {
  return [
    {
      flags: "-D, --directory <PATH>",
      help: "the tree to use as root; without this and -M the current directory",
      take: (path) => {
        options.directory = path;
      },
    },
    {
      flags: "-i, --image <PATH>",
      help: "the same from a disk image: a file or block device with a partition table, or with one file system",
      take: (path) => {
        options.image = path;
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
      flags: "--bind-user-group <GROUP>",
      help: "a group of the machine that the users of BindUser= are in, besides their own",
      take: (text = "") => {
        options.bindUserGroups.push(groupOption(text));
      },
    },
    {
      flags: "-S, --slice <SLICE>",
      help: "where systemd runs the host: the slice of the machine's scope; default machine.slice",
      take: (text = "") => {
        options.slice = sliceOption(text);
      },
    },
    {
      flags: "--property <NAME=VALUE>",
      help: "where systemd runs the host: a property of the machine's scope, as systemctl set-property takes it",
      take: (text = "") => {
        options.properties.push(propertyOption(text));
      },
    },
    {
      flags: "--keep-unit",
      help: "where systemd runs the host: no scope, but the unit that berth runs in, which needs Delegate=yes",
      take: () => {
        options.keepUnit = { value: true, source: { from: "option", option: "--keep-unit" } };
      },
    },
    {
      flags: "-Z, --selinux-context <CONTEXT>",
      help: "on a host with SELinux: the security context of the machine's processes",
      take: (text = "") => {
        options.selinuxContext = contextOption("--selinux-context", text);
      },
    },
    {
      flags: "-L, --selinux-apifs-context <CONTEXT>",
      help: "the same of the files in its file systems in memory (/dev, /run, /tmp), and of its terminals",
      take: (text = "") => {
        options.selinuxApifsContext = contextOption("--selinux-apifs-context", text);
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
      flags: "--background <COLOR>",
      help: "the terminal's background while a machine has it, as an SGR number: 44, 48;5;17, 48;2;R;G;B; empty: as it is",
      take: (text = "") => {
        options.background = backgroundOption(text);
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
