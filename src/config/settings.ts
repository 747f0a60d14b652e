import { UsageError } from "../errors.ts";
import { quote } from "../spec/quote.ts";
import type { OptionAssignment, OptionForm, SectionName, Setting } from "./setting.ts";
import { EXEC } from "./settings-exec.ts";
import { FILES } from "./settings-files.ts";
import { LIMITS } from "./settings-limits.ts";
import { MACHINE } from "./settings-machine.ts";
import { NETWORK } from "./settings-network.ts";

/**
 * THE table: every setting of systemd.nspawn(5), as of systemd 257 with what later versions added, and those of [Machine],
 * one row each. What a file may say, the options of `berth run`, `berth check`, the manual and completion all come from these rows.
 */
export const SETTINGS: readonly Setting[] = [EXEC, LIMITS, FILES, NETWORK, MACHINE].flatMap(
  (rows): readonly Setting[] => Object.values(rows),
);

/** By section, then key. Maps: a file may well ask for the key `__proto__`. */
export const SETTINGS_BY_SECTION: ReadonlyMap<string, ReadonlyMap<string, Setting>> = new Map(
  (["Exec", "Files", "Network", "Machine"] satisfies SectionName[]).map((name) => [
    name,
    new Map(SETTINGS.filter((setting) => setting.section === name).map((setting) => [setting.key, setting])),
  ]),
);

export function findSetting(section: string, key: string): Setting | undefined {
  return SETTINGS_BY_SECTION.get(section)?.get(key);
}

/** A command line option and the settings it sets: one, except for --rlimit, where the value names it. */
export interface CommandOption {
  readonly form: OptionForm;
  readonly takes: string;
  readonly help: string;
  readonly settings: readonly Setting[];
}

/** The options of the table, each name once, in table order. */
export const COMMAND_OPTIONS: readonly CommandOption[] = commandOptions();

function commandOptions(): readonly CommandOption[] {
  const options = new Map<string, CommandOption>();
  for (const setting of SETTINGS) {
    for (const form of setting.options) {
      const name = optionName(form);
      const before = options.get(name)?.settings ?? [];
      const takes = form.item === undefined ? setting.takes : `NAME=${setting.takes}`;
      const help = form.item === undefined ? setting.help : "resource limit of PID 1, such as NOFILE=1024:4096";
      options.set(name, { form, takes, help, settings: [...before, setting] });
    }
  }
  return [...options.values()];
}

/** The option as users know it, `--boot` or `-U`. */
export function optionName({ long, short }: OptionForm): string {
  return long === undefined ? `-${short}` : `--${long}`;
}

/** What an option as given on the command line, by the name that was typed, assigns. Throws a UsageError for --rlimit of an unknown limit. */
export function assignOption(
  option: CommandOption,
  value: string | undefined,
  name = optionName(option.form),
): OptionAssignment {
  const typed = value === undefined ? name : `${name}${name.startsWith("--") ? "=" : " "}${value}`;
  const text = value ?? option.form.implies ?? "";
  const [first] = option.settings;
  if (option.form.item === undefined && first !== undefined)
    return { section: first.section, key: first.key, value: text, option: typed };

  const equals = text.indexOf("=");
  const limit = text.slice(0, Math.max(0, equals)).replace(/^(RLIMIT_|Limit)/, "");
  const setting = option.settings.find((each) => each.options.some((form) => form.item === limit));
  if (setting === undefined) {
    const known = option.settings.map((each) => each.key.replace("Limit", "")).join(" ");
    throw new UsageError(`${name}=: ${quote(text)} names no resource limit`, `NAME=VALUE with a name of: ${known}`);
  }
  return { section: setting.section, key: setting.key, value: text.slice(equals + 1), option: typed };
}
