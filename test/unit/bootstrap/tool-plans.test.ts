/** What the shipped recipes have each tool do, as golden files: also of tools that no test here can run. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { type BuildPlan, planBuild } from "../../../src/bootstrap/build-plan.ts";
import type { Lock, Packages } from "../../../src/bootstrap/lock.ts";
import { mmdebstrapArguments } from "../../../src/bootstrap/mmdebstrap.ts";
import { readRecipes } from "../../../src/bootstrap/read-recipes.ts";
import { packageTool } from "../../../src/bootstrap/tool-plan.ts";

const RECIPES = fileURLToPath(new URL("../../../bootstrap", import.meta.url));
const GOLDEN = fileURLToPath(new URL("../../golden/recipes", import.meta.url));
const ARCHITECTURES = ["x86_64", "aarch64"] as const;
const ARCHIVES = { debian: "http://m.example/debian", "debian-security": "http://m.example/debian-security" };

const all = await Promise.all(
  ARCHITECTURES.map(async (architecture) => {
    const { recipes } = await readRecipes({ recipes: RECIPES, etc: "/nonexistent" }, architecture);
    return recipes
      .filter(({ architectures }) => architectures.length === 0 || architectures.includes(architecture))
      .flatMap((recipe) => recipe.releases.map((release) => ({ architecture, recipe, release })));
  }),
);
const cases = all.flat().map((one) => ({ ...one, name: `${one.recipe.name}-${one.release.name}-${one.architecture}` }));

test.each(cases)("$name", ({ architecture, recipe, release, name }) => {
  const plan = planBuild({ recipe, release }, { archives: ARCHIVES, architecture, digests: new Map() });
  expectGolden(name, show(plan));
});

const LOCKED: Packages = {
  "bash.x86_64": { version: "5.2-1", digest: null },
  "vim.x86_64": { version: "2:9.1-3", digest: null },
};
const BARE: Packages = { bash: { version: "5.2-r1", digest: null } };

test.each(["fedora", "opensuse", "arch", "alpine", "void"])("%s with a lock file", (name) => {
  const found = cases.find((one) => one.recipe.name === name && one.architecture === "x86_64");
  if (found === undefined) throw new Error(`no recipe ${name}`);
  const { recipe, release, architecture } = found;
  const packages = ["fedora", "opensuse"].includes(name) ? LOCKED : BARE;
  const lock: Lock = {
    version: 1,
    recipe: name,
    release: "x",
    architecture,
    tool: "x",
    created: "",
    sources: [],
    packages,
  };
  const plan = planBuild({ recipe, release }, { archives: {}, architecture, digests: new Map(), lock });
  expectGolden(`${name}-locked`, show(plan));
});

test("--mirror stands in for the recipe's", () => {
  const found = cases.find(({ name }) => name === "alpine-edge-x86_64");
  if (found === undefined) throw new Error("no alpine");
  const context = {
    archives: {},
    architecture: "x86_64",
    digests: new Map(),
    mirror: "https://near.example/alpine/",
  } as const;
  expect(planBuild(found, context).build.sources).toEqual([
    "main https://near.example/alpine/edge/main",
    "community https://near.example/alpine/edge/community",
  ]);
});

test.each([
  [
    "apk",
    ["alpine-base-3.22.1-r0", "WARNING: opening", "py3-six-1.16.0-r9", "a_b-1.2.3_rc4-r10"],
    { "alpine-base": "3.22.1-r0", "py3-six": "1.16.0-r9", a_b: "1.2.3_rc4-r10" },
  ],
  [
    "xbps",
    ["ii bash-5.2.037_1            GNU Bourne", "uu x-1_1 half", "ii libstdc++-13.2.0_2 x"],
    { bash: "5.2.037_1", "libstdc++": "13.2.0_2" },
  ],
  [
    "pacman",
    ["bash 5.2.037-1", "warning: database file", "gcc-libs 15.1.1+r7-1"],
    { bash: "5.2.037-1", "gcc-libs": "15.1.1+r7-1" },
  ],
  [
    "dnf",
    [`vim.x86_64 2:9.1-3 ${"a".repeat(64)}`, "gpg-pubkey.(none) 0:1-2 x", "bash.noarch 0:5.2-1 (none)"],
    { "vim.x86_64": "2:9.1-3", "bash.noarch": "5.2-1" },
  ],
] as const)("what %s says is installed", (name, lines, versions) => {
  const found = packageTool(name).parsePackages(lines);
  expect(Object.fromEntries(Object.entries(found).map(([key, { version }]) => [key, version]))).toEqual(versions);
});

/** One line a command, then the files. */
function show({ build }: BuildPlan): string {
  if (build.tool === "mmdebstrap") return `${mmdebstrapArguments(build, () => true).join("\n")}\n`;
  const commands = build.commands.map(({ stage, may, argv }) => `${stage} ${may}: ${argv.join(" ")}`);
  const inTree = Object.entries(build.treeFiles).map(([path, text]) => `== ${path}\n${text}`);
  const files = Object.entries(build.files).map(([path, text]) => `== /tool/${path}\n${text}`);
  const lines = [
    ...commands,
    `inventory: ${build.inventory.join(" ")}`,
    ...build.keyrings.map((path) => `key: ${path}`),
  ];
  return `${[...lines, ...files, ...inTree].join("\n")}\n`;
}

function expectGolden(name: string, text: string): void {
  const path = join(GOLDEN, `${name}.txt`);
  if (process.env["UPDATE"] === "1") {
    mkdirSync(GOLDEN, { recursive: true });
    writeFileSync(path, text);
  }
  expect(text).toBe(readFileSync(path, "utf8"));
}
