import { join } from "node:path";
import { BerthError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { copyTree } from "../image/copy-tree.ts";
import { makeImage } from "../image/make.ts";
import { type BuildPlan, planBuild } from "./build-plan.ts";
import { type TreeMeta, withCachedTree } from "./cache.ts";
import { findRelease } from "./find-release.ts";
import { finishTree, installedPackages } from "./finish-tree.ts";
import { findHostArchives } from "./host-apt.ts";
import { runMmdebstrap } from "./mmdebstrap.ts";
import { readRecipes } from "./recipe.ts";
import { makeEvent, type OnProgress } from "./stage.ts";

export interface TreeOptions {
  /** `debian`, `debian/trixie` or `trixie`. */
  readonly recipe: string;
  readonly release?: string | undefined;
  readonly paths: Paths;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
  /** Builds even if there is a tree in the cache, and puts the new one there. */
  readonly refresh?: boolean;
}

export interface BootstrapOptions extends TreeOptions {
  readonly name: string;
  /** False: neither reads nor fills the cache. */
  readonly useCache?: boolean;
}

export interface BootstrapResult {
  readonly path: string;
  readonly recipe: string;
  readonly release: string;
  readonly fromCache: boolean;
  /** How many are installed. */
  readonly packages: number;
  readonly seconds: number;
}

/**
 * Makes the machine tree `<machines>/<name>`: there whole, or not at all.
 * @throws BerthError for wrong names, an existing machine, a failed build, an abort
 */
export async function bootstrap(options: BootstrapOptions): Promise<BootstrapResult> {
  const started = performance.now();
  const { name, paths, signal, onProgress } = options;
  try {
    const plan = await planTree(options);
    if (process.geteuid?.() !== 0) throw new BerthError("only root can bootstrap a machine", { hint: "use sudo" });
    let made: { meta: TreeMeta; fromCache: boolean } | undefined;
    const path = await makeImage(
      paths,
      { name, signal, readOnly: false, replace: false },
      async (workspace, driver) => {
        const tree = join(workspace, "tree");
        made =
          options.useCache === false
            ? { meta: await buildTree(plan, workspace, options), fromCache: false }
            : await withCachedTree(cacheRequest(plan, options), builder(plan, options), async (cached) => {
                onProgress(makeEvent("copy"));
                driver.create(tree);
                await copyTree(cached.tree, tree, signal);
                return cached;
              });
        return tree;
      },
    );
    return {
      path,
      recipe: plan.recipe,
      release: plan.release,
      fromCache: made?.fromCache === true,
      packages: Object.keys(made?.meta.packages ?? {}).length,
      seconds: (performance.now() - started) / 1000,
    };
  } catch (error) {
    throw signal.aborted ? interrupted(name) : explained(name, error);
  }
}

/** The cached tree itself, built if need be. Whoever uses it must not write to it. */
export async function cachedTree(options: TreeOptions): Promise<{ path: string; fromCache: boolean; meta: TreeMeta }> {
  const plan = await planTree(options);
  return withCachedTree(cacheRequest(plan, options), builder(plan, options), async ({ tree, meta, fromCache }) => ({
    path: tree,
    fromCache,
    meta,
  }));
}

async function planTree({ recipe, release, paths }: TreeOptions): Promise<BuildPlan> {
  const [recipes, archives] = await Promise.all([readRecipes(paths.recipes), findHostArchives()]);
  return planBuild(findRelease(recipes, recipe, release), archives, process.arch);
}

function cacheRequest(plan: BuildPlan, { paths, signal, onProgress, refresh = false }: TreeOptions) {
  return { cache: paths.cache, plan, signal, onProgress, refresh };
}

function builder(plan: BuildPlan, options: TreeOptions) {
  return (directory: string) => buildTree(plan, directory, options);
}

/** Makes `directory`/tree. */
async function buildTree(plan: BuildPlan, directory: string, { signal, onProgress }: TreeOptions): Promise<TreeMeta> {
  await runMmdebstrap(plan, { directory, signal, onProgress });
  const tree = join(directory, "tree");
  await finishTree(tree);
  const packages = await installedPackages(tree);
  const { recipe, release, architecture } = plan;
  return { recipe, release, architecture, created: new Date().toISOString(), packages };
}

/** Node's own errors about files name the call, the path and the errno; the reader needs no stack for a full disk. */
function explained(name: string, error: unknown): unknown {
  if (error instanceof BerthError || !(error instanceof Error) || !("code" in error)) return error;
  return new BerthError(`bootstrap of ${name} failed: ${error.message}`, { cause: error });
}

function interrupted(name: string): BerthError {
  return new BerthError(`bootstrap of ${name} was interrupted; nothing of it is left`, { exitStatus: 130 });
}
