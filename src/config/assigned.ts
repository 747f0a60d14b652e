import { suggest } from "../spec/nearest.ts";
import { error, type Problem } from "../spec/problem.ts";
import { printable, quote } from "../spec/quote.ts";
import { byDefault, type Sourced } from "../spec/source.ts";
import type { Fault, OptionAssignment, Setting } from "./setting.ts";
import { SETTINGS, SETTINGS_BY_SECTION } from "./settings.ts";
import { type Assignment, sourceAt } from "./unit-file.ts";
import { notYet } from "./values.ts";

/**
 * What settings files and options assign, by setting. Later assignments win (scalars) or add (lists), an empty one
 * takes back all before it; so options, which come last, win over files. Problems are reported as values are read,
 * values that a later one replaces included.
 */
export class Assigned {
  readonly #bySetting = new Map<Setting, Ordered[]>();
  readonly #report: (problem: Problem) => void;
  /** What has been read once has said what is wrong with it. */
  readonly #seen = new Set<Assignment>();
  #problems = 0;

  constructor(assignments: Iterable<Assignment>, report: (problem: Problem) => void) {
    this.#report = (problem) => {
      this.#problems++;
      if (this.#problems < PROBLEMS_MAX) report(problem);
      else if (this.#problems === PROBLEMS_MAX) report({ ...problem, severity: "error", what: TOO_MANY });
    };
    const unknownSections = new Set<string>();
    let order = 0;
    for (const assignment of assignments) {
      const { section, key, value, source } = assignment;
      if (section.startsWith("X-") || key.startsWith("X-")) continue;
      const setting = SETTINGS_BY_SECTION.get(section)?.get(key);
      if (setting === undefined) this.#reportUnknown(assignment, unknownSections);
      else if (value.includes("\0")) this.#report({ severity: "error", source, what: `${key}= contains a NUL byte` });
      else if (value === "") this.#bySetting.delete(setting);
      else {
        const list = this.#bySetting.get(setting);
        if (list === undefined) this.#bySetting.set(setting, [{ assignment, order: order++ }]);
        else list.push({ assignment, order: order++ });
      }
    }
  }

  /** The value that holds, undefined when there is none. */
  last<T>(setting: Setting<T>): Sourced<T> | undefined {
    return this.all(setting).at(-1);
  }

  /** The value that holds, or the table's default, which the setting must have. */
  one<T>(setting: Setting<T>): Sourced<T> {
    return this.last(setting) ?? byDefault(tableDefault(setting));
  }

  /** The value that holds of a setting and of the other names it has had; or its default. */
  latest<T>(setting: Setting<T>, ...older: readonly Setting<T>[]): Sourced<T> {
    return this.all(setting, ...older).at(-1) ?? byDefault(tableDefault(setting));
  }

  /** Every value of these settings, in the order written; those that could not be read are left out. */
  all<T>(...settings: readonly Setting<T>[]): readonly Sourced<T>[] {
    return settings
      .flatMap((setting) => (this.#bySetting.get(setting) ?? []).map((ordered) => ({ ...ordered, setting })))
      .sort((a, b) => a.order - b.order)
      .flatMap(({ assignment, setting }) => {
        const value = this.#read(setting, assignment);
        return value === undefined ? [] : [{ value, source: assignment.source }];
      });
  }

  /** The assignments that hold, in the order written, sections as in the table; of a setting with one value the last. */
  effective(): readonly Assignment[] {
    const holding = [...this.#bySetting].flatMap(([setting, list]) =>
      (setting.list === true ? list : list.slice(-1)).map((ordered) => ({ ...ordered, setting })),
    );
    const sections = [...SETTINGS_BY_SECTION.keys()];
    const place = ({ setting }: { setting: Setting }): number => sections.indexOf(setting.section);
    return holding.sort((a, b) => place(a) - place(b) || a.order - b.order).map(({ assignment }) => assignment);
  }

  /** Reads every setting that is not in effect yet, for its syntax, and reports each real use of one. */
  refuseNotYet(): void {
    for (const setting of SETTINGS) {
      if (setting.state === "in effect") continue;
      const values = this.all(setting);
      for (const { value, source } of setting.list === true ? values : values.slice(-1))
        if (setting.accepts?.includes(value) !== true)
          this.#report(
            error(source, notYet(`${setting.key}=`), setting.comesWith && `it comes with ${setting.comesWith}`),
          );
    }
  }

  #read<T>(setting: Setting<T>, assignment: Assignment): T | undefined {
    if (this.#problems >= PROBLEMS_MAX) return undefined;
    const fromOption = assignment.source.from === "option";
    const parse = (fromOption ? setting.parseOption : undefined) ?? setting.parse;
    const isNew = !this.#seen.has(assignment);
    this.#seen.add(assignment);
    return parse(assignment.value, (fault) => {
      if (isNew) this.#report(problemOf(assignment, fault));
    });
  }

  #reportUnknown({ section, key, source }: Assignment, unknownSections: Set<string>): void {
    if (this.#problems >= PROBLEMS_MAX) return;
    // systemd warns and goes on, so that a file can be shared with later versions. An option has no such excuse.
    const severity = source.from === "option" ? "error" : "warning";
    const settings = SETTINGS_BY_SECTION.get(section);
    if (settings !== undefined) {
      const elsewhere = SETTINGS.find((setting) => setting.key === key);
      const hint = elsewhere === undefined ? suggestKey(key, settings.keys()) : `it belongs in [${elsewhere.section}]`;
      const what = `unknown setting ${quote(key)} in [${section}]`;
      this.#report({ severity, source, what, ...(hint === undefined ? {} : { hint }) });
      return;
    }
    const place = `${source.from === "file" ? source.file : ""}\0${section}`;
    if (unknownSections.has(place)) return;
    unknownSections.add(place);
    const hint = suggest(section, SETTINGS_BY_SECTION.keys());
    this.#report({
      severity,
      source,
      what: `unknown section ${quote(section)}`,
      ...(hint === undefined ? {} : { hint }),
    });
  }
}

/** Reading ends at this many problems: a file that is something else altogether has one in each line. */
const PROBLEMS_MAX = 1000;
const TOO_MANY = `more than ${PROBLEMS_MAX} problems, the rest is not read`;

interface Ordered {
  readonly assignment: Assignment;
  readonly order: number;
}

function suggestKey(key: string, keys: Iterable<string>): string | undefined {
  return suggest(key, keys)?.replace("?", "=?");
}

/** The default of a setting in the table, as a value. */
export function tableDefault<T>(setting: Setting<T>): T {
  const value = setting.default === undefined ? undefined : setting.parse(setting.default, () => undefined);
  if (value === undefined) throw new Error(`${setting.key}= has no valid default in the table`);
  return value;
}

function problemOf(assignment: Assignment, { what, expected, hint, offset }: Fault): Problem {
  const subject = `${assignment.key}=`;
  return {
    severity: "error",
    source: sourceAt(assignment, offset ?? 0),
    what: what.startsWith(subject) ? what : `${subject}: ${what}`,
    ...(expected === undefined ? {} : { expected }),
    ...(hint === undefined ? {} : { hint }),
  };
}

/** An option as the same kind of thing as a line of a file. */
export function fromOption({ section, key, value, option }: OptionAssignment): Assignment {
  return { section, key, value, source: { from: "option", option: printable(option) } };
}
