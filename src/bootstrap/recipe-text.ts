import { parse } from "ini";
import { BerthError } from "../errors.ts";
import { quote } from "../spec/quote.ts";

/** Sections of a recipe by name, each its values by key: one text, or a list where it was written `key[] = ...`. */
export type Sections = ReadonlyMap<string, ReadonlyMap<string, string | readonly string[]>>;

export type Shape = "text" | "list";
/** What a section may hold. */
export type Keys = Readonly<Record<string, Shape>>;

export const ARCHITECTURES = ["x86_64", "aarch64"] as const;
/** As the kernel calls it. */
export type Architecture = (typeof ARCHITECTURES)[number];

/** Lists of files beside the recipe: they become absolute here, since who extends it lies elsewhere. */
const FILE_LISTS = new Set(["file", "user", "keyring"]);

/** Stands for a dot while ini(npm) reads: no text has one. */
const DOT = "\u0000";

/** @param place makes a path beside the recipe absolute */
export function readSections(text: string, path: string, place: (path: string) => string): Sections {
  requireQuotes(text, path);
  // ini(npm) takes `[release 3.20]` for a section in a section, and puts it behind the others.
  const escaped = text.replace(/^[ \t]*\[([^\]]*)\][ \t]*$/gm, (_, name: string) => `[${name.replaceAll(".", DOT)}]`);
  const sections = new Map<string, Map<string, string | readonly string[]>>();
  for (const [name, raw] of Object.entries(parse(escaped))) {
    if (typeof raw !== "object" || raw === null)
      throw new BerthError(`${path}: ${quote(name)} is written before the first section`);
    const values = Object.entries(raw).map(([key, value]) => [key, rawValue(key, value, place)] as const);
    sections.set(name.replaceAll(DOT, "."), new Map(values));
  }
  return sections;
}

/** ini(npm) would take the rest of such a line for a comment, and half a command is worse than none. */
function requireQuotes(text: string, path: string): void {
  for (const [index, line] of text.split("\n").entries()) {
    const value = /^\s*[^=;#[\s][^=;#]*=\s*([^"'\s].*)$/.exec(line.trimEnd())?.[1];
    if (value === undefined || !/(?<!\\)[;#]/.test(value)) continue;
    throw new BerthError(`${path}:${index + 1}: a value with ; or # in it has to be in double quotes`, {
      hint: 'a comment is a line of its own; inside quotes write \\" for a quote',
    });
  }
}

/** A word that ini(npm) takes for a truth value is a text to us. */
function rawValue(key: string, value: unknown, place: (path: string) => string): string | readonly string[] {
  if (!Array.isArray(value)) return String(value);
  return FILE_LISTS.has(baseKey(key)) ? value.map((one) => placed(key, String(one), place)) : value.map(String);
}

function placed(key: string, value: string, place: (path: string) => string): string {
  if (baseKey(key) === "user")
    return value.replace(/(\skey=)(\S+)/g, (_, before: string, file: string) => before + place(file));
  return value.replace(/^\S+/, place);
}

/** What a child says comes on top of its parent: a list is added to, any other value replaced. */
export function mergeSections(parent: Sections, child: Sections): Sections {
  const merged = new Map([...parent].map(([name, values]) => [name, new Map(values)] as const));
  for (const [name, values] of child) {
    const into = merged.get(name) ?? new Map<string, string | readonly string[]>();
    merged.set(name, into);
    for (const [key, value] of values) {
      const old = into.get(key);
      into.set(key, Array.isArray(old) && Array.isArray(value) ? [...old, ...value] : value);
    }
  }
  return merged;
}

/** One section's values, checked against what it may hold. */
export interface Values {
  /** For messages: file and section. ini(npm) keeps no line numbers. */
  readonly where: string;
  has(key: string): boolean;
  /** @throws BerthError when it is not there */
  text(key: string): string;
  list(key: string): readonly string[];
}

/**
 * A key with an architecture behind it (`mirror-aarch64`) is the one of that name there, and nothing elsewhere.
 * @throws BerthError for an unknown key, or one that is written in the other way
 */
export function checkSection(
  raw: ReadonlyMap<string, string | readonly string[]> | undefined,
  keys: Keys,
  where: string,
  architecture: Architecture,
): Values {
  const values = new Map<string, string | readonly string[]>();
  const special = new Map<string, string | readonly string[]>();
  for (const [key, value] of raw ?? []) {
    const base = Object.hasOwn(keys, key) ? key : baseKey(key);
    const shape = Object.hasOwn(keys, base) ? keys[base] : undefined;
    if (shape === undefined)
      throw new BerthError(`${where}: unknown key ${quote(key)}`, {
        hint: `known keys: ${Object.keys(keys).join(", ")}`,
      });
    const fits = shape === "list" ? Array.isArray(value) : typeof value === "string" && value !== "";
    if (!fits)
      throw new BerthError(`${where} ${key}: must be ${shape === "list" ? `a list, ${key}[] = ...` : "one text"}`);
    if (base === key) values.set(key, value);
    else if (key === `${base}-${architecture}`) special.set(base, value);
  }
  for (const [key, value] of special) values.set(key, value);
  return {
    where,
    has: (key) => values.has(key),
    text(key) {
      const value = values.get(key);
      if (typeof value !== "string") throw new BerthError(`${where}: ${key} is missing`);
      return value;
    },
    list(key) {
      const value = values.get(key);
      return value === undefined || typeof value === "string" ? [] : value;
    },
  };
}

/** A release's own values over those of all. */
export function overlaid(common: Values, own: Values): Values {
  return {
    where: own.where,
    has: (key) => own.has(key) || common.has(key),
    text: (key) => (own.has(key) ? own.text(key) : common.text(key)),
    list: (key) => [...common.list(key), ...own.list(key)],
  };
}

function baseKey(key: string): string {
  return key.replace(new RegExp(`-(${ARCHITECTURES.join("|")})$`), "");
}
