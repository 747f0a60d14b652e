import { BerthError } from "../errors.ts";
import { nearest } from "../spec/nearest.ts";
import { quote } from "../spec/quote.ts";
import type { Recipes } from "./read-recipes.ts";
import type { Recipe, Release } from "./recipe.ts";

export interface Found {
  readonly recipe: Recipe;
  readonly release: Release;
}

/**
 * Finds what `RECIPE [--release RELEASE]` means. RECIPE is a recipe (`debian`: its default release), a recipe and a
 * release (`debian/trixie`) or a release alone (`trixie`, `13`). @throws BerthError with the nearest known name, or that says
 * what is wrong with the recipe
 */
export function findRelease({ recipes, broken }: Recipes, wanted: string, releaseOption?: string): Found {
  const [name = "", ofName, more] = wanted.split("/");
  if (more !== undefined || name === "") throw unknown("recipe", wanted, []);
  if (ofName !== undefined && releaseOption !== undefined && ofName !== releaseOption) {
    throw new BerthError(`${quote(wanted)} and --release ${quote(releaseOption)} name different releases`, {
      exitStatus: 2,
    });
  }
  const fault = broken.find((candidate) => candidate.name === name);
  if (fault !== undefined) throw fault.error;
  const recipe = recipes.find((candidate) => candidate.name === name);
  if (recipe !== undefined) return releaseOf(recipe, ofName ?? releaseOption ?? recipe.defaultRelease);

  const byRelease = ofName === undefined ? releasesNamed(recipes, name) : [];
  const [only] = byRelease;
  if (only === undefined) throw unknownRecipe(recipes, name, ofName);
  if (byRelease.length > 1) {
    const choices = byRelease.map((found) => `${found.recipe.name}/${found.release.name}`).join(", ");
    throw new BerthError(`several recipes have a release ${quote(name)}`, { hint: `one of: ${choices}` });
  }
  if (releaseOption !== undefined && !isNamed(only.release, releaseOption)) {
    throw new BerthError(`${quote(name)} is a release itself, and not ${quote(releaseOption)}`, { exitStatus: 2 });
  }
  return only;
}

function releaseOf(recipe: Recipe, name: string): Found {
  const release = recipe.releases.find((candidate) => isNamed(candidate, name));
  if (release !== undefined) return { recipe, release };
  const names = recipe.releases.map((candidate) => candidate.name);
  throw unknown(`release of ${recipe.name}`, name, names);
}

function releasesNamed(recipes: readonly Recipe[], name: string): Found[] {
  return recipes.flatMap((recipe) =>
    recipe.releases.filter((release) => isNamed(release, name)).map((release) => ({ recipe, release })),
  );
}

function isNamed(release: Release, name: string): boolean {
  return release.name === name || release.aliases.includes(name);
}

function unknownRecipe(recipes: readonly Recipe[], name: string, release: string | undefined): BerthError {
  const names = recipes.map((recipe) => recipe.name);
  const releases = recipes.flatMap((recipe) => recipe.releases.map((candidate) => candidate.name));
  return unknown("recipe", name, release === undefined ? [...names, ...releases] : names);
}

function unknown(what: string, name: string, known: readonly string[]): BerthError {
  const near = nearest(name, known);
  const hint =
    near === undefined ? "berth recipes lists what there is" : `did you mean ${near}? berth recipes lists all`;
  return new BerthError(`there is no ${what} ${quote(name)}`, { hint, exitStatus: 2 });
}
