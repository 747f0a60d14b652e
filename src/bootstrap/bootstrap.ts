import { join } from "node:path";
import { BerthError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { copyTree } from "../image/copy-tree.ts";
import { removeLost } from "../image/lost.ts";
import { makeImage } from "../image/make.ts";
import { writeOrigin } from "../image/origin.ts";
import { type BuildPlan, planBuild } from "./build-plan.ts";
import { type TreeMeta, withCachedTree } from "./cache.ts";
import { dressTree, requireFiles } from "./dress-tree.ts";
import { digestFiles } from "./file-digests.ts";
import { findRelease } from "./find-release.ts";
import { dpkgPackages, finishTree } from "./finish-tree.ts";
import { findHostArchives } from "./host-apt.ts";
import { differences, type Lock, type Packages, showLock } from "./lock.ts";
import { runMmdebstrap } from "./mmdebstrap.ts";
import { hostArchitecture, readRecipes } from "./read-recipes.ts";
import { runCommands } from "./run-commands.ts";
import { runTool } from "./run-tool.ts";
import { makeEvent, type OnProgress } from "./stage.ts";
import { makeToolDirectory, removeToolDirectory } from "./tool-directory.ts";

export interface TreeOptions {
  /** `debian`, `debian/trixie` or `trixie`. */
  readonly recipe: string;
  readonly release?: string | undefined;
  readonly paths: Paths;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
  /** Builds even if there is a tree in the cache, and puts the new one there. */
  readonly refresh?: boolean;
  /** Besides the recipe's. */
  readonly packages?: readonly string[];
  readonly commands?: readonly string[];
  /** In place of the recipe's, or of the host's apt. */
  readonly mirror?: string | undefined;
  /** In place of the recipe's. */
  readonly keyrings?: readonly string[];
  /** What is to be installed, and nothing else. */
  readonly lock?: Lock | undefined;
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
  readonly lock: Lock;
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
    await removeLost(paths, name);
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
                await copyTree(cached.tree, tree, signal, {
                  progress: (part) => onProgress(makeEvent("copy", { part })),
                });
                return cached;
              });
        writeOrigin(paths, name, showLock(made.meta));
        return tree;
      },
    );
    if (made === undefined) throw new Error("an image was made of nothing");
    const { meta, fromCache } = made;
    return {
      path,
      recipe: plan.recipe,
      release: plan.release,
      fromCache,
      packages: Object.keys(meta.packages).length,
      seconds: (performance.now() - started) / 1000,
      lock: meta,
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

async function planTree(options: TreeOptions): Promise<BuildPlan> {
  const [recipes, archives] = await Promise.all([readRecipes(options.paths), findHostArchives()]);
  const { recipe, release } = findRelease(recipes, options.recipe, options.release);
  const { keyrings = [], lock } = options;
  if (lock !== undefined) requireSameRelease(lock, `${recipe.name}/${release.name}`);
  const build = keyrings.length === 0 ? release.build : { ...release.build, keyrings };
  const context = {
    ...options,
    archives,
    architecture: hostArchitecture(),
    digests: await digestFiles(release.additions),
  };
  const plan = planBuild({ recipe, release: { ...release, build } }, context);
  await requireFiles(plan);
  return plan;
}

function requireSameRelease({ recipe, release, architecture }: Lock, wanted: string): void {
  const locked = `${recipe}/${release}`;
  const is = hostArchitecture();
  if (locked === wanted && architecture === is) return;
  throw new BerthError(`the lock file is of ${locked} for ${architecture}, not of ${wanted} for ${is}`, {
    exitStatus: 2,
  });
}

function cacheRequest(plan: BuildPlan, { paths, signal, onProgress, refresh = false }: TreeOptions) {
  return { cache: paths.cache, plan, signal, onProgress, refresh };
}

function builder(plan: BuildPlan, options: TreeOptions) {
  return (directory: string) => buildTree(plan, directory, options);
}

/** Makes `directory`/tree. */
async function buildTree(plan: BuildPlan, directory: string, options: TreeOptions): Promise<TreeMeta> {
  const { signal, onProgress } = options;
  await makeToolDirectory(directory);
  const packages = await install(plan, directory, options);
  requireLocked(plan, packages);
  if (plan.files.length + plan.users.length > 0) onProgress(makeEvent("dress"));
  await dressTree(plan, directory, signal);
  await runCommands(plan, { ...options, directory });
  onProgress(makeEvent("finish"));
  await finishTree(directory, signal);
  await removeToolDirectory(directory);
  const { recipe, release, architecture, build } = plan;
  const { tool, sources } = build;
  return { version: 1, recipe, release, architecture, tool, created: new Date().toISOString(), sources, packages };
}

async function install(plan: BuildPlan, directory: string, options: TreeOptions): Promise<Packages> {
  if (plan.build.tool !== "mmdebstrap") return runTool(plan, plan.build, { ...options, directory });
  await runMmdebstrap(plan, plan.build, { ...options, directory });
  return dpkgPackages(join(directory, "tree"));
}

const SHOWN_DIFFERENCES = 10;

function requireLocked({ locked, recipe, release }: BuildPlan, packages: Packages): void {
  const all = locked === null ? [] : differences(locked, packages);
  if (all.length === 0) return;
  const more = all.length > SHOWN_DIFFERENCES ? [`and ${all.length - SHOWN_DIFFERENCES} more`] : [];
  const shown = [...all.slice(0, SHOWN_DIFFERENCES), ...more].map((line) => `\n  ${line}`);
  throw new BerthError(`${recipe}/${release} can't be made as the lock file says:${shown.join("")}`, {
    hint: "the archive has moved on: --mirror with a snapshot of that time, or a new lock file (--lock)",
  });
}

/** Node's own errors about files name the call, the path and the errno; the reader needs no stack for a full disk. */
function explained(name: string, error: unknown): unknown {
  if (error instanceof BerthError || !(error instanceof Error) || !("code" in error)) return error;
  return new BerthError(`bootstrap of ${name} failed: ${error.message}`, { cause: error });
}

function interrupted(name: string): BerthError {
  return new BerthError(`bootstrap of ${name} was interrupted; nothing of it is left`, { exitStatus: 130 });
}
