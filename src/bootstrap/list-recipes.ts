import type { Paths } from "../host/paths.ts";
import { planBuild } from "./build-plan.ts";
import { findCached } from "./cache.ts";
import { findHostArchives } from "./host-apt.ts";
import { type Recipe, type Release, readRecipes } from "./recipe.ts";

/** What `berth recipes --json` prints, one a recipe. */
export interface RecipeListing {
  readonly name: string;
  readonly title: string;
  readonly releases: readonly {
    readonly name: string;
    readonly title: string;
    readonly aliases: readonly string[];
    readonly default: boolean;
    /** The tree the next bootstrap would copy; null: it would build one (or this user may not see the cache). */
    readonly cached: { readonly created: string; readonly packages: number } | null;
  }[];
}

export async function listRecipes(paths: Paths): Promise<RecipeListing[]> {
  const [recipes, archives] = await Promise.all([readRecipes(paths.recipes), findHostArchives()]);

  const cached = async (recipe: Recipe, release: Release) => {
    const meta = await findCached(paths.cache, planBuild({ recipe, release }, archives, process.arch));
    return meta === undefined ? null : { created: meta.created, packages: Object.keys(meta.packages).length };
  };

  return Promise.all(
    recipes.map(async (recipe) => ({
      name: recipe.name,
      title: recipe.title,
      releases: await Promise.all(
        recipe.releases.map(async (release) => ({
          name: release.name,
          title: release.title,
          aliases: release.aliases,
          default: release.name === recipe.defaultRelease,
          cached: await cached(recipe, release),
        })),
      ),
    })),
  );
}
