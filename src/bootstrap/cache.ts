import { closeSync, openSync } from "node:fs";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { cachedTrees } from "../image/cached-trees.ts";
import { createWorkspace, makePrivateDirectory, prepareStore, publish } from "../image/workspace.ts";
import { tryLock } from "../sys/files.ts";
import type { BuildPlan } from "./build-plan.ts";
import { type Lock, parseLock, showLock } from "./lock.ts";
import { makeEvent, type OnProgress } from "./stage.ts";

/**
 * `<cache>/trees/<key>/` holds `tree/` and `meta.json`. An entry is whole or not there: it is built in a workspace
 * beside it and renamed.
 */
export interface CachedTree {
  readonly tree: string;
  readonly meta: TreeMeta;
  /** False: it was built just now. */
  readonly fromCache: boolean;
}

/** meta.json: what is in the tree, as a lock file has it. */
export type TreeMeta = Lock;

export interface CacheRequest {
  /** Paths.cache */
  readonly cache: string;
  readonly plan: BuildPlan;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
  /** Builds even if there is an entry. */
  readonly refresh: boolean;
}

/** Makes `directory`/tree and says what is in it. */
export type BuildTree = (directory: string) => Promise<TreeMeta>;

/** Milliseconds. Two weeks: Debian's security archive moves every few days, its point releases every two months. */
const MAX_AGE = 14 * 24 * 3600 * 1000;
/** Milliseconds. */
const LOCK_INTERVAL = 100;

/**
 * Gives `use` the tree of a plan, from the cache or built into it. The key's lock is held meanwhile, so that two
 * bootstraps build it once, and nobody refreshes a tree that is being copied.
 */
export async function withCachedTree<T>(
  request: CacheRequest,
  build: BuildTree,
  use: (cached: CachedTree) => Promise<T>,
): Promise<T> {
  const { plan, refresh } = request;
  const trees = cachedTrees(request.cache);
  await makePrivateDirectory(request.cache);
  await prepareStore(trees);
  const lock = await lockKey(trees, request);
  try {
    const entry = join(trees, plan.key);
    const meta = refresh ? undefined : await readFreshMeta(entry);
    if (meta !== undefined) return await use({ tree: join(entry, "tree"), meta, fromCache: true });
    const built = await fillEntry(trees, plan.key, build);
    return await use({ tree: join(entry, "tree"), meta: built, fromCache: false });
  } finally {
    closeSync(lock);
  }
}

/** The entry of a plan if there is a usable one; takes no lock and builds nothing. */
export async function findCached(cache: string, plan: BuildPlan): Promise<TreeMeta | undefined> {
  return readFreshMeta(join(cachedTrees(cache), plan.key));
}

async function fillEntry(trees: string, key: string, build: BuildTree): Promise<TreeMeta> {
  await using workspace = await createWorkspace(trees, key.slice(0, 8));
  const entry = join(workspace.path, "entry");
  await mkdir(entry, { mode: 0o700 });
  const meta = await build(entry);
  await writeFile(join(entry, "meta.json"), showLock(meta));
  // The old ones are moved away only now that there is a better one, and removed with the workspace.
  for (const old of await outdated(trees, key)) await rename(join(trees, old), join(workspace.path, old));
  await publish(entry, join(trees, key));
  return meta;
}

/** The entry to be replaced, and those of other plans that nobody will use again, unless they are in use now. */
async function outdated(trees: string, key: string): Promise<string[]> {
  const entries = (await readdir(trees)).filter((name) => /^[0-9a-f]{64}$/.test(name));
  const unusable = await Promise.all(
    entries.map(async (name) => {
      if (name === key) return true;
      if ((await readFreshMeta(join(trees, name))) !== undefined) return false;
      const lock = tryLockKey(trees, name);
      if (lock !== undefined) closeSync(lock);
      return lock !== undefined;
    }),
  );
  return entries.filter((_, index) => unusable[index]);
}

/** Undefined: there is no entry, it is too old, made by a clock that was ahead, or unreadable. */
async function readFreshMeta(entry: string): Promise<TreeMeta | undefined> {
  try {
    const meta = parseLock(await readFile(join(entry, "meta.json"), "utf8"));
    if (typeof meta === "string") return undefined;
    const age = Date.now() - Date.parse(meta.created);
    return age >= 0 && age < MAX_AGE ? meta : undefined;
  } catch {
    return undefined;
  }
}

async function lockKey(trees: string, { plan, signal, onProgress }: CacheRequest): Promise<number> {
  for (let said = false; ; said = true) {
    const lock = tryLockKey(trees, plan.key);
    if (lock !== undefined) return lock;
    if (!said) onProgress(makeEvent("wait"));
    await sleep(LOCK_INTERVAL, undefined, { signal });
  }
}

/** The lock files stay: one that could be removed would need a lock of its own. */
function tryLockKey(trees: string, key: string): number | undefined {
  const path = join(trees, `.lock-${key}`);
  const fd = openSync(path, "a", 0o600);
  if (tryLock(fd, path)) return fd;
  closeSync(fd);
  return undefined;
}
