import { access, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type BootstrapOptions, bootstrap } from "../../src/bootstrap/bootstrap.ts";
import { planBuild } from "../../src/bootstrap/build-plan.ts";
import { findRelease } from "../../src/bootstrap/find-release.ts";
import { findHostArchives } from "../../src/bootstrap/host-apt.ts";
import { runMmdebstrap } from "../../src/bootstrap/mmdebstrap.ts";
import { hostArchitecture, readRecipes } from "../../src/bootstrap/read-recipes.ts";
import { makeToolDirectory } from "../../src/bootstrap/tool-directory.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { testPaths } from "../lib/trees.ts";

const MINUTES = 60_000;
const signal = new AbortController().signal;

needs("root", "tool:mmdebstrap", "tool:unshare");
checkLeaks();

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "bootstrap-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

function make(recipe: string, more: Partial<BootstrapOptions> = {}) {
  return bootstrap({
    recipe,
    name: "web",
    paths: testPaths(root),
    signal,
    onProgress: () => {},
    useCache: false,
    ...more,
  });
}

test.each([
  ["bookworm", /^VERSION_CODENAME=bookworm$/m],
  ["trixie", /^VERSION_CODENAME=trixie$/m],
  ["sid", /^PRETTY_NAME=.*sid/m],
])("%s is built from the archive, stage by stage", { timeout: 10 * MINUTES }, async (release, osRelease) => {
  const stages = new Set<string>();
  const result = await bootstrap({
    recipe: "debian",
    release,
    name: "web",
    paths: testPaths(root),
    signal,
    onProgress: ({ stage }) => stages.add(stage),
    useCache: false,
  });
  expect(result).toMatchObject({ release, fromCache: false });
  expect([...stages]).toEqual(["index", "download", "extract", "essential", "install", "clean", "unload", "finish"]);
  expect(await readFile(join(result.path, "etc/os-release"), "utf8")).toMatch(osRelease);
  await access(join(result.path, "sbin/init"));
});

test("Ubuntu is built from its archive", { timeout: 10 * MINUTES }, async (ctx) => {
  needsHere(ctx, "file:/usr/share/keyrings/ubuntu-archive-keyring.gpg");
  const result = await make("ubuntu");
  expect(await readFile(join(result.path, "etc/os-release"), "utf8")).toMatch(/^ID=ubuntu$/m);
});

test("a lock file brings back what it was written of, and names what is no longer there", {
  timeout: 10 * MINUTES,
}, async () => {
  const { lock } = await make("trixie", { packages: ["vim-tiny"] });
  expect(lock.packages).toHaveProperty("vim-tiny:amd64".replace("amd64", process.arch === "arm64" ? "arm64" : "amd64"));
  await rm(join(root, "machines"), { recursive: true });
  const again = await make("trixie", { lock });
  expect(again.lock.packages).toEqual(lock.packages);
  await rm(join(root, "machines"), { recursive: true });
  const gone = { ...lock, packages: { ...lock.packages, "netbase:all": { version: "0.1", digest: null } } };
  await expect(make("trixie", { lock: gone })).rejects.toThrow("netbase");
});

test("a host with little memory builds on its disk", { timeout: 10 * MINUTES }, async () => {
  const found = findRelease(await readRecipes(testPaths(root)), "trixie");
  const archives = await findHostArchives();
  const plan = planBuild(found, { archives, architecture: hostArchitecture(), digests: new Map() });
  if (plan.build.tool !== "mmdebstrap") throw new Error("Debian is made by mmdebstrap");
  const directory = join(root, "work");
  await mkdir(directory);
  await makeToolDirectory(directory);
  await runMmdebstrap(plan, plan.build, { directory, signal, onProgress: () => {}, memory: 0 });
  await access(join(directory, "tree/sbin/init"));
});
