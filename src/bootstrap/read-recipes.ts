import { readdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { quote } from "../spec/quote.ts";
import { readRegular } from "./read-regular.ts";
import { makeRecipe, type Recipe } from "./recipe.ts";
import { type Architecture, mergeSections, readSections, type Sections, type Written } from "./recipe-text.ts";

interface RawRecipe {
  readonly path: string;
  /** @throws BerthError, of a file that is no recipe */
  readonly sections: () => Sections;
}
type RawRecipes = ReadonlyMap<string, RawRecipe>;

/** One that can't be used; the others can. */
export interface BrokenRecipe {
  readonly name: string;
  /** Names the file, section and key. */
  readonly error: BerthError;
}

export interface Recipes {
  readonly recipes: readonly Recipe[];
  readonly broken: readonly BrokenRecipe[];
}

/** Where the host's own are: one of a shipped one's name stands in for it, or extends it. */
export function ownRecipes({ etc }: Pick<Paths, "etc">): string {
  return join(etc, "recipes");
}

/** This machine, as the kernel calls it. */
export function hostArchitecture(nodeArch: string = process.arch): Architecture {
  return nodeArch === "arm64" ? "aarch64" : "x86_64";
}

/** All recipes, by name. */
export async function readRecipes(
  paths: Pick<Paths, "recipes" | "etc">,
  architecture: Architecture = hostArchitecture(),
): Promise<Recipes> {
  const [shipped, own] = await Promise.all([readDirectory(paths.recipes), readDirectory(ownRecipes(paths), true)]);
  const names = [...new Set([...shipped.keys(), ...own.keys()])].sort();
  const recipes: Recipe[] = [];
  const broken: BrokenRecipe[] = [];
  for (const name of names) {
    const { path } = own.get(name) ?? shipped.get(name) ?? { path: name };
    try {
      recipes.push(makeRecipe(resolveExtends(name, shipped, own), path, architecture));
    } catch (error) {
      if (!(error instanceof BerthError)) throw error;
      broken.push({ name, error });
    }
  }
  return { recipes, broken };
}

/** One that extends nothing. */
export function parseRecipe(text: string, path: string, architecture: Architecture = hostArchitecture()): Recipe {
  return makeRecipe(
    readSections(text, path, (file) => resolve(dirname(path), file)),
    path,
    architecture,
  );
}

/** With those of what it extends under it. `asked`: who extends it, from the first one on. */
function resolveExtends(
  name: string,
  shipped: RawRecipes,
  own: RawRecipes,
  asked: readonly Extending[] = [],
): Sections {
  const child = asked.at(-1);
  // A recipe that extends its own name means the shipped one.
  const recipe = [own.get(name), shipped.get(name)].find((one) => one !== undefined && one !== child?.recipe);
  if (recipe === undefined)
    throw new BerthError(`${child?.where}: there is no recipe ${quote(name)}`, {
      hint: `there are ${[...new Set([...shipped.keys(), ...own.keys()])].join(", ")}`,
    });
  const again = asked.find((one) => one.recipe === recipe);
  if (again !== undefined) throw new BerthError(`${again.where}: it would extend itself`);
  const sections = recipe.sections();
  const parent = sections.get("recipe")?.values.get("extends");
  if (parent === undefined) return sections;
  const { text, where } = extendsOf(parent);
  return mergeSections(resolveExtends(text, shipped, own, [...asked, { recipe, where }]), sections);
}

/** A recipe that extends another, and where it says so. */
interface Extending {
  readonly recipe: RawRecipe;
  readonly where: string;
}

function extendsOf(value: Written | readonly Written[]): { readonly text: string; readonly where: string } {
  if ("text" in value) return { text: value.text, where: `${value.at.value}: [recipe] extends` };
  throw new BerthError(`${value[0]?.at.key}: [recipe] extends: must be one text`);
}

async function readDirectory(directory: string, optional = false): Promise<RawRecipes> {
  const files = await readdir(directory).catch((error: unknown) => {
    const code = errorCode(error);
    if (optional && code === "ENOENT") return [];
    throw new BerthError(`cannot read the recipes in ${directory}: ${code ?? String(error)}`);
  });
  const recipes = files.filter((file) => /^[a-z0-9][a-z0-9-]*\.ini$/.test(file)).sort();
  const read = recipes.map(async (file): Promise<readonly [string, RawRecipe]> => {
    const path = join(directory, file);
    const text = await readRegular(path).catch((error: unknown) => {
      return new BerthError(
        `cannot read the recipe ${path}: ${error instanceof Error ? error.message : String(error)}`,
      );
    });
    const sections = (): Sections => {
      if (text instanceof BerthError) throw text;
      return readSections(text.toString("utf8"), path, (other) => resolve(directory, other));
    };
    return [basename(file, ".ini"), { path, sections }];
  });
  return new Map(await Promise.all(read));
}
