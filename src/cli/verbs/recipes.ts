import type { Command } from "commander";
import { listRecipes, type RecipeListing } from "../../bootstrap/list-recipes.ts";
import { EXIT_FAILED } from "../../errors.ts";
import { complain, print } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("recipes")
    .summary("list what can be bootstrapped")
    .description(
      "Lists the recipes of `berth bootstrap` with their releases, the tool that builds each and whether it is here, and which are in the cache.",
    )
    .option("--json", "print as JSON")
    .action(run(recipesVerb));
}

async function recipesVerb(context: Context, options: { readonly json?: boolean }): Promise<number> {
  const { recipes, broken } = await listRecipes(context.paths);
  print(`${options.json === true ? JSON.stringify(recipes) : renderTable(recipes)}\n`);
  for (const { error } of broken) complain(error.message, error.hint);
  return broken.length === 0 ? 0 : EXIT_FAILED;
}

/** One line a release; the one built where none is named is marked. */
export function renderTable(listing: readonly RecipeListing[]): string {
  const rows = listing.flatMap((recipe) =>
    recipe.releases.map((release) => [
      recipe.name,
      release.name + (release.default ? " (default)" : ""),
      titleCell(recipe, release),
      toolCell(recipe),
      release.cached === null ? "-" : release.cached.created.slice(0, 10),
    ]),
  );
  const table = [["RECIPE", "RELEASE", "TITLE", "TOOL", "CACHED"], ...rows];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  return table.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")).join("\n");
}

/** A recipe that extends another one has its releases, and a title of its own. */
function titleCell({ title }: RecipeListing, release: RecipeListing["releases"][number]): string {
  return release.title.startsWith(title) ? release.title : `${title}, ${release.title}`;
}

function toolCell({ tool, missing, forThisArchitecture }: RecipeListing): string {
  if (!forThisArchitecture) return `${tool} (other architectures)`;
  if (missing.programs.length > 0) return `${tool} (missing)`;
  return missing.keyrings.length > 0 ? `${tool} (keys missing)` : tool;
}
