import type { Command } from "commander";
import { type BootstrapResult, bootstrap } from "../../bootstrap/bootstrap.ts";
import type { OnProgress } from "../../bootstrap/stage.ts";
import { type Progress, startProgress } from "../progress.ts";
import type { Context, Runner } from "../verb.ts";

interface Options {
  readonly release?: string;
  readonly refresh?: boolean;
  readonly cache: boolean;
  readonly json?: boolean;
}

export function define(program: Command, run: Runner): void {
  program
    .command("bootstrap")
    .summary("make a machine from a distribution's packages")
    .description(
      "Makes the tree of machine NAME from RECIPE: a recipe (debian), one with its release (debian/trixie) or a " +
        "release alone (trixie). The second machine of a kind is a copy from the cache. `berth recipes` lists all.",
    )
    .argument("<recipe>", "what to build")
    .argument("<name>", "the new machine's name")
    .option("--release <release>", "which release of the recipe")
    .option("--refresh", "build anew even if the cache has a tree that is recent enough")
    .option("--no-cache", "neither use nor fill the cache")
    .option("--json", "print the result as JSON")
    .action(run(bootstrapVerb));
}

async function bootstrapVerb(context: Context, recipe: string, name: string, options: Options): Promise<number> {
  const { paths, signal } = context;
  const progress = startProgress(process.stderr, { fancy: context.fancy, title: name, env: context.env });
  let result: BootstrapResult;
  try {
    result = await bootstrap({
      recipe,
      release: options.release,
      name,
      paths,
      signal,
      refresh: options.refresh === true,
      useCache: options.cache,
      onProgress: showOn(progress),
    });
  } finally {
    progress.end();
  }
  console.log(options.json === true ? JSON.stringify({ name, ...result }) : sentence(name, result));
  return 0;
}

function showOn(progress: Progress): OnProgress {
  return ({ label, fraction, done, total, item }) => {
    const count = total === null ? "" : `${done}/${total} `;
    progress.update({ label, fraction, detail: `${count}${item}`.trim() });
  };
}

function sentence(name: string, { path, recipe, release, fromCache, packages, seconds }: BootstrapResult): string {
  const origin = fromCache ? "copied from the cache" : "built";
  return `${name}: ${recipe} ${release}, ${packages} packages, ${origin} in ${seconds.toFixed(1)} s: ${path}`;
}
