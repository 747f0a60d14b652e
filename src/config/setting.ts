import type { Assignment } from "./unit-file.ts";

/** Something wrong inside a value; the reader of the value adds where the value is. */
export interface Fault {
  readonly what: string;
  readonly expected?: string | undefined;
  readonly hint?: string | undefined;
  /** Where in the value, 0 when absent. */
  readonly offset?: number;
}

/**
 * Reads one value that is not empty. Everything wrong with it is reported; undefined when nothing usable is left.
 * Values are data: no parser hands a part of one to another syntax.
 */
export type Parse<T> = (value: string, report: (fault: Fault) => void) => T | undefined;

/** Those of systemd.nspawn(5), and one of our own. */
export type SectionName = "Exec" | "Files" | "Network" | "Machine";

/** A command line option that sets the same as a setting: systemd-nspawn(1)'s names, or ours. */
export interface OptionForm {
  /** Without dashes; `boot` and `b` of `-b, --boot`. */
  readonly long: string | undefined;
  readonly short: string | undefined;
  /** What the option stands for when it has no value of its own; undefined: it needs one. */
  readonly implies: string | undefined;
  /** Has a value only as `--option=VALUE`; without one it means `implies`. */
  readonly optional: boolean;
  /** For --rlimit=NAME=VALUE: the NAME that leads to this setting. */
  readonly item: string | undefined;
}

/** What the tables say of a setting; `section()` adds where it stands. */
export interface Row<T> {
  /** The value's form for help texts: `BOOL`, `PATH[:PATH[:OPTIONS]]`. */
  readonly takes: string;
  /** One line, our own words. */
  readonly help: string;
  readonly parse: Parse<T>;
  /** Reads the value of an option, where that is not written as in a file. */
  readonly parseOption?: Parse<T>;
  /** As a user would write it; absent: nothing, or it depends on the machine. */
  readonly default?: string;
  /** Each assignment adds to the ones before; otherwise the last one holds. An empty one undoes them either way. */
  readonly list?: boolean;
  readonly options: readonly OptionForm[];
  /** In effect even in settings that came with an image: it can neither reach the host nor widen what the machine may. */
  readonly safe: boolean;
  readonly state: "in effect" | "not yet";
  /** What a setting that is not in effect yet comes with, for messages and manuals. */
  readonly comesWith?: string;
  /** Values that a setting may have although it is not in effect yet: what berth does anyway. */
  readonly accepts?: readonly T[];
}

export interface Setting<T = unknown> extends Row<T> {
  readonly section: SectionName;
  readonly key: string;
}

type Settings<Rows> = { readonly [Key in keyof Rows]: Rows[Key] extends Row<infer T> ? Setting<T> : never };

/** A section of the table: the rows by key, each completed with its section and key. */
export function section<Rows extends Record<string, Row<unknown>>>(name: SectionName, rows: Rows): Settings<Rows> {
  const settings = Object.entries(rows).map(([key, row]) => [key, { ...row, section: name, key }]);
  return Object.fromEntries(settings) as Settings<Rows>;
}

/** `flag("-b --boot", "yes")`: an option without a value, which stands for one value of its setting. */
export function flag(names: string, implies: string): OptionForm {
  return { ...optionNames(names), implies, optional: false, item: undefined };
}

/** `option("--bind")`: an option with a value of its own. */
export function option(names: string, item?: string): OptionForm {
  return { ...optionNames(names), implies: undefined, optional: false, item };
}

/** `optionalValue("--volatile", "yes")`: `--volatile` or `--volatile=MODE`, as getopt's optional arguments. */
export function optionalValue(names: string, implies: string): OptionForm {
  return { ...optionNames(names), implies, optional: true, item: undefined };
}

function optionNames(names: string): { long: string | undefined; short: string | undefined } {
  const all = names.split(" ");
  return {
    long: all.find((name) => name.startsWith("--"))?.slice(2),
    short: all.find((name) => !name.startsWith("--"))?.slice(1),
  };
}

/** What an option on the command line assigns; `option` is the text as typed, for messages. */
export interface OptionAssignment extends Pick<Assignment, "section" | "key" | "value"> {
  readonly option: string;
}
