import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { parse } from "ini";
import { BerthError } from "../errors.ts";
import { quote } from "../spec/quote.ts";

/** One distribution: a file of bootstrap/. Its format is described in bootstrap/README.md. */
export interface Recipe {
  /** File name without `.ini`. */
  readonly name: string;
  readonly title: string;
  readonly defaultRelease: string;
  /** In the order of the file. */
  readonly releases: readonly Release[];
}

export interface Release {
  readonly name: string;
  readonly title: string;
  readonly aliases: readonly string[];
  readonly suite: string;
  readonly sources: readonly Source[];
  /** The recipe's section with this release's own values applied. */
  readonly mmdebstrap: MmdebstrapSettings;
}

export interface Source {
  readonly archive: Archive;
  readonly suite: string;
}

export const ARCHIVES = ["debian", "debian-security"] as const;
export type Archive = (typeof ARCHIVES)[number];

export interface MmdebstrapSettings {
  readonly variant: string;
  readonly components: string;
  readonly keyring: string;
  readonly include: readonly string[];
  /** `path-exclude=GLOB` and `path-include=GLOB` in the order dpkg(1) applies them: the last that matches wins. */
  readonly pathFilters: readonly string[];
  readonly hooks: readonly string[];
}

type Shape = "text" | "list";
type Section = Readonly<Record<string, Shape>>;

/** What each section may hold. ini(npm) keeps no line numbers, so messages name section and key. */
const RECIPE_KEYS: Section = { title: "text", "default-release": "text" };
const MMDEBSTRAP_KEYS: Section = {
  variant: "text",
  components: "text",
  keyring: "text",
  include: "list",
  "path-exclude": "list",
  "path-include": "list",
  hook: "list",
};
const RELEASE_KEYS: Section = { title: "text", suite: "text", alias: "list", source: "list", ...MMDEBSTRAP_KEYS };

/** All recipes of a directory, by name. @throws BerthError that names the file, section and key */
export async function readRecipes(directory: string): Promise<Recipe[]> {
  const files = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    throw new BerthError(`cannot read the recipes in ${directory}: ${error.code ?? error.message}`);
  });
  const recipes = files.filter((file) => file.endsWith(".ini")).sort();
  return Promise.all(
    recipes.map(async (file) => {
      const path = join(directory, file);
      return parseRecipe(await readFile(path, "utf8"), path);
    }),
  );
}

/** `path` is for the recipe's name and for messages. */
export function parseRecipe(text: string, path: string): Recipe {
  const sections = new Map(Object.entries(parse(text)));
  const releaseNames = [...sections.keys()].flatMap((name) => /^release ([a-z0-9][a-z0-9-]*)$/.exec(name)?.[1] ?? []);
  const read = (section: string, keys: Section) => readSection(sections.get(section), keys, `${path}: [${section}]`);

  for (const name of sections.keys()) {
    if (name === "recipe" || name === "mmdebstrap" || releaseNames.includes(name.slice("release ".length))) continue;
    throw new BerthError(`${path}: unknown section [${name}]`, {
      hint: "a recipe has [recipe], [mmdebstrap] and one [release NAME] a release",
    });
  }
  const recipe = read("recipe", RECIPE_KEYS);
  const common = read("mmdebstrap", MMDEBSTRAP_KEYS);
  const releases = releaseNames.map((name) => makeRelease(name, common, read(`release ${name}`, RELEASE_KEYS)));
  const defaultRelease = recipe.text("default-release");
  if (!releaseNames.includes(defaultRelease)) {
    throw new BerthError(
      `${path}: default-release ${quote(defaultRelease)} has no [release ${defaultRelease}] section`,
    );
  }
  return { name: basename(path, ".ini"), title: recipe.text("title"), defaultRelease, releases };
}

function makeRelease(name: string, common: Values, own: Values): Release {
  const either = (key: string) => (own.has(key) ? own.text(key) : common.text(key));
  const both = (key: string) => [...common.list(key), ...own.list(key)];
  return {
    name,
    title: own.text("title"),
    aliases: own.list("alias"),
    suite: own.text("suite"),
    sources: own.list("source").map((line) => parseSource(line, own.where)),
    mmdebstrap: {
      variant: either("variant"),
      components: either("components"),
      keyring: either("keyring"),
      include: both("include"),
      // ini(npm) keeps the order within one key only: excludes come first, so that an include can take a part back.
      pathFilters: ["path-exclude", "path-include"].flatMap((key) => both(key).map((glob) => `${key}=${glob}`)),
      hooks: both("hook"),
    },
  };
}

function parseSource(line: string, where: string): Source {
  const [name, suite, more] = line.split(/\s+/);
  const archive = ARCHIVES.find((known) => known === name);
  if (archive === undefined || suite === undefined || more !== undefined) {
    throw new BerthError(`${where} source: ${quote(line)} is not ARCHIVE SUITE`, {
      hint: `known archives: ${ARCHIVES.join(", ")}`,
    });
  }
  return { archive, suite };
}

interface Values {
  readonly where: string;
  has(key: string): boolean;
  text(key: string): string;
  list(key: string): readonly string[];
}

function readSection(raw: unknown, keys: Section, where: string): Values {
  if (typeof raw !== "object" || raw === null) throw new BerthError(`${where} is missing`);
  const values = new Map<string, unknown>(Object.entries(raw));
  for (const [key, value] of values) {
    const shape = Object.hasOwn(keys, key) ? keys[key] : undefined;
    if (shape === undefined) {
      throw new BerthError(`${where}: unknown key ${quote(key)}`, {
        hint: `known keys: ${Object.keys(keys).join(", ")}`,
      });
    }
    const fits = shape === "list" ? Array.isArray(value) : typeof value === "string" && value !== "";
    if (!fits)
      throw new BerthError(`${where} ${key}: must be ${shape === "list" ? `a list, ${key}[] = ...` : "one text"}`);
  }
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
      return Array.isArray(value) ? value.map(String) : [];
    },
  };
}
