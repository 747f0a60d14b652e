import { existsSync } from "node:fs";
import type { Paths } from "../host/paths.ts";
import { planBuild } from "./build-plan.ts";
import { findCached } from "./cache.ts";
import { digestFiles } from "./file-digests.ts";
import { findHostArchives } from "./host-apt.ts";
import { keyringPackages } from "./keyring-packages.ts";
import type { Program } from "./package-tool.ts";
import { type BrokenRecipe, hostArchitecture, readRecipes } from "./read-recipes.ts";
import type { Recipe, Release, ToolName } from "./recipe.ts";
import { missingPrograms } from "./run-tool.ts";
import { packageTool } from "./tool-plan.ts";

/** What `berth recipes --json` prints, one a recipe. */
export interface RecipeListing {
  readonly name: string;
  readonly title: string;
  /** The distribution's own, of this host. */
  readonly tool: ToolName;
  /** What this host lacks of it: programs, and the Debian packages that have them; keyrings of the default release. */
  readonly missing: {
    readonly programs: readonly string[];
    readonly debianPackages: readonly string[];
    readonly keyrings: readonly string[];
  };
  /** False: the distribution is not there for this machine's architecture. */
  readonly forThisArchitecture: boolean;
  readonly releases: readonly {
    readonly name: string;
    readonly title: string;
    readonly aliases: readonly string[];
    readonly default: boolean;
    /** The tree the next bootstrap would copy; null: it would build one (or this user may not see the cache). */
    readonly cached: { readonly created: string; readonly packages: number } | null;
  }[];
}

const MMDEBSTRAP: readonly Program[] = [{ name: "mmdebstrap", debian: "mmdebstrap" }];

export interface RecipesListing {
  readonly recipes: readonly RecipeListing[];
  readonly broken: readonly BrokenRecipe[];
}

export async function listRecipes(paths: Paths): Promise<RecipesListing> {
  const [{ recipes, broken }, archives] = await Promise.all([readRecipes(paths), findHostArchives()]);
  const architecture = hostArchitecture();
  const isHere = ({ architectures }: Recipe) => architectures.length === 0 || architectures.includes(architecture);

  const cached = async (recipe: Recipe, release: Release) => {
    if (!isHere(recipe)) return null;
    const digests = await digestFiles(release.additions);
    const plan = planBuild({ recipe, release }, { archives, architecture, digests });
    const meta = await findCached(paths.cache, plan);
    return meta === undefined ? null : { created: meta.created, packages: Object.keys(meta.packages).length };
  };

  const listed = await Promise.all(
    recipes.map(async (recipe) => ({
      name: recipe.name,
      title: recipe.title,
      ...toolOf(recipe),
      forThisArchitecture: isHere(recipe),
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
  return { recipes: listed, broken };
}

function toolOf({ releases, defaultRelease }: Recipe): Pick<RecipeListing, "tool" | "missing"> {
  const build = releases.find(({ name }) => name === defaultRelease)?.build;
  if (build === undefined) throw new Error("a recipe has no default release");
  const { tool } = build;
  const keyrings = build.keyrings.filter((keyring) => !existsSync(keyring));
  const lacking = missingPrograms(tool === "mmdebstrap" ? MMDEBSTRAP : packageTool(tool).programs);
  return {
    tool,
    missing: {
      programs: lacking.map(({ name }) => name),
      debianPackages: [...new Set([...lacking.flatMap(({ debian }) => debian ?? []), ...keyringPackages(keyrings)])],
      keyrings,
    },
  };
}
