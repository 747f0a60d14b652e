import { parse } from "ini";
import { BerthError } from "../errors.ts";
import { quote } from "../spec/quote.ts";
import { findPlaces, type Place } from "./recipe-places.ts";

/** Sections of a recipe by name. */
export type Sections = ReadonlyMap<string, Section>;

export interface Section {
  /** `path:line:column` of its head. */
  readonly at: string;
  /** By key: one text, or a list where it was written `key[] = ...`. */
  readonly values: ReadonlyMap<string, Written | readonly Written[]>;
}

/** A value, and where it and its key are. */
export interface Written {
  readonly text: string;
  readonly at: Place;
}

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
  requireKnown(text, path);
  // ini(npm) takes `[release 3.20]` for a section in a section, and puts it behind the others.
  const escaped = text.replace(/^[ \t]*\[([^\]]*)\][ \t]*$/gm, (_, name: string) => `[${name.replaceAll(".", DOT)}]`);
  const sections = new Map<string, Section>();
  const places = findPlaces(text, path);
  for (const [escapedName, raw] of Object.entries(parse(escaped))) {
    const name = escapedName.replaceAll(DOT, ".");
    if (typeof raw !== "object" || raw === null)
      throw new BerthError(
        `${places.ofValues("", name)[0]?.key ?? path}: ${quote(name)} is written before the first section`,
      );
    const values = Object.entries(raw).map(
      ([key, value]) => [key, written(key, value, places.ofValues(name, key), path, place)] as const,
    );
    sections.set(name, { at: places.ofSection(name), values: new Map(values) });
  }
  return sections;
}

/** ini(npm) would take the rest of such a line for a comment, and half a command is worse than none. */
function requireQuotes(text: string, path: string): void {
  for (const [index, line] of text.split("\n").entries()) {
    const value = /^\s*[^=;#[\s][^=;#]*=\s*([^"'\s].*)$/.exec(line.trimEnd())?.[1];
    const column = value?.search(/(?<!\\)[;#]/) ?? -1;
    if (value === undefined || column < 0) continue;
    const at = line.trimEnd().length - value.length + column;
    throw new BerthError(`${path}:${index + 1}:${at + 1}: a value with ; or # in it has to be in double quotes`, {
      hint: 'a comment is a line of its own; inside quotes write \\" for a quote',
    });
  }
}

/** ini(npm) leaves a key or section of that name out without a word. */
function requireKnown(text: string, path: string): void {
  for (const [index, line] of text.split("\n").entries()) {
    const column = /^\s*(\[\s*)?["']?__proto__\b/.test(line) ? line.search(/\S/) : -1;
    if (column >= 0) throw new BerthError(`${path}:${index + 1}:${column + 1}: unknown key or section "__proto__"`);
  }
}

/** A word that ini(npm) takes for a truth value is a text to us. Of a text that is written twice the last one counts. */
function written(
  key: string,
  value: unknown,
  places: readonly Place[],
  path: string,
  place: (path: string) => string,
): Written | readonly Written[] {
  const none: Place = { key: path, value: path };
  if (!Array.isArray(value)) return { text: String(value), at: places.at(-1) ?? none };
  const isFile = FILE_LISTS.has(baseKey(key));
  return value.map((one, index) => ({
    text: isFile ? placed(key, String(one), place) : String(one),
    at: places[index] ?? none,
  }));
}

function placed(key: string, value: string, place: (path: string) => string): string {
  if (baseKey(key) === "user")
    return value.replace(/(\skey=)(\S+)/g, (_, before: string, file: string) => before + place(file));
  return value.replace(/^\S+/, place);
}

/** What a child says comes on top of its parent: a list is added to, any other value replaced. */
export function mergeSections(parent: Sections, child: Sections): Sections {
  const merged = new Map([...parent].map(([name, { at, values }]) => [name, { at, values: new Map(values) }] as const));
  for (const [name, { at, values }] of child) {
    const into = merged.get(name)?.values ?? new Map<string, Written | readonly Written[]>();
    merged.set(name, { at, values: into });
    for (const [key, value] of values) {
      const old = into.get(key);
      into.set(key, Array.isArray(old) && Array.isArray(value) ? [...old, ...value] : value);
    }
  }
  return merged;
}

/** A value, and for messages where it is: place, section and key. */
export interface PlacedText {
  readonly text: string;
  readonly where: string;
}

/** One section's values, checked against what it may hold. */
export interface Values {
  has(key: string): boolean;
  /** @throws BerthError when it is not there */
  text(key: string): string;
  list(key: string): readonly string[];
  placed(key: string): readonly PlacedText[];
}

/**
 * A key with an architecture behind it (`mirror-aarch64`) is the one of that name there, and nothing elsewhere.
 * @throws BerthError for an unknown key, or one that is written in the other way
 */
export function checkSection(
  name: string,
  section: Section | undefined,
  keys: Keys,
  architecture: Architecture,
): Values {
  const values = new Map<string, Written | readonly Written[]>();
  const special = new Map<string, Written | readonly Written[]>();
  for (const [key, value] of section?.values ?? []) {
    const at = listOf(value)[0]?.at;
    const base = Object.hasOwn(keys, key) ? key : baseKey(key);
    const shape = Object.hasOwn(keys, base) ? keys[base] : undefined;
    if (shape === undefined)
      throw new BerthError(`${at?.key}: [${name}]: unknown key ${quote(key)}`, {
        hint: `known keys: ${Object.keys(keys).join(", ")}`,
      });
    const fits = shape === "list" ? isList(value) : !isList(value) && value.text !== "";
    if (!fits)
      throw new BerthError(
        `${at?.key}: [${name}] ${key}: must be ${shape === "list" ? `a list, ${key}[] = ...` : "one text"}`,
      );
    if (base === key) values.set(key, value);
    else if (key === `${base}-${architecture}`) special.set(base, value);
  }
  for (const [key, value] of special) values.set(key, value);
  const all = (key: string): readonly Written[] => listOf(values.get(key) ?? []);
  return {
    has: (key) => values.has(key),
    text(key) {
      const [value] = all(key);
      if (value === undefined) throw new BerthError(`${section?.at}: [${name}]: ${key} is missing`);
      return value.text;
    },
    list: (key) => all(key).map(({ text }) => text),
    placed: (key) => all(key).map(({ text, at }) => ({ text, where: `${at.value}: [${name}] ${key}` })),
  };
}

function isList(value: Written | readonly Written[]): value is readonly Written[] {
  return Array.isArray(value);
}

function listOf(value: Written | readonly Written[]): readonly Written[] {
  return isList(value) ? value : [value];
}

/** A release's own values over those of all. */
export function overlaid(common: Values, own: Values): Values {
  return {
    has: (key) => own.has(key) || common.has(key),
    text: (key) => (own.has(key) ? own.text(key) : common.text(key)),
    list: (key) => [...common.list(key), ...own.list(key)],
    placed: (key) => [...common.placed(key), ...own.placed(key)],
  };
}

function baseKey(key: string): string {
  return key.replace(new RegExp(`-(${ARCHITECTURES.join("|")})$`), "");
}
